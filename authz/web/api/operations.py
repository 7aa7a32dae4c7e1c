"""List the operations of the token API. Routes and the OpenAPI document are built from it."""

from authz.web.api import (
    budget_models,
    budgets,
    explanation,
    group_models,
    groups,
    models,
    organizations,
    own_keys,
    tokens,
    user_admin,
    users,
)
from authz.web.api.operation import ERRORS as _ERRORS
from authz.web.api.operation import of_users as _of_users
from authz.web.api.operation import open_to_all as _open

_FLAG = "boolean"
_MANAGED = {404: "Coder manages the users and tokens", 503: _ERRORS[503]}
_TOO_LONG = "the body is too long"
_KEYS = "/users/{user}/keys"
_OWN_KEYS = "/users/{user}/own-keys"
_NO_MANAGER = "the caller is not an owner or user administrator, or their token is limited"
_GROUPS = "/organizations/{organization}/groups"
_MEMBER = {"has_member": "string"}
_PAGE = {"limit": "integer", "offset": "integer"}
_NO_GROUPS = "the caller may not change this group or these members, or their token is limited"
_NO_BUDGETS = "the caller is not an owner, or their token is limited"
_LIMITED = {403: "the token of the call is limited"}

OPERATIONS = (
    _open("GET", "/buildinfo", users.build_info, 200, models.BuildInfo, _MANAGED),
    _open("GET", "/users/first", users.first_user, 200, models.Message, _MANAGED),
    _open(
        "POST",
        "/users/login",
        users.log_in,
        201,
        models.LoggedIn,
        {**_ERRORS, 401: "wrong name or password", 413: _TOO_LONG, 429: "too many attempts"},
        models.Login,
    ),
    _of_users(
        "POST",
        "/users/logout",
        users.log_out,
        200,
        models.Message,
        query={"everywhere": _FLAG},
        errors=_LIMITED,
    ),
    _of_users(
        "GET", "/users/roles", user_admin.list_roles, 200, models.AssignableRole, is_list=True
    ),
    _of_users(
        "GET",
        "/users",
        user_admin.list_users,
        200,
        models.Users,
        query={"q": "string", "limit": "integer", "offset": "integer", "after_id": "string"},
    ),
    _of_users(
        "POST",
        "/users",
        user_admin.create_user,
        201,
        models.User,
        body=models.CreateUser,
        errors={403: _NO_MANAGER, 409: "the name or e-mail address is taken", 413: _TOO_LONG},
    ),
    _of_users("GET", "/users/{user}", users.show_user, 200, models.User),
    _of_users(
        "DELETE",
        "/users/{user}",
        user_admin.delete_user,
        200,
        models.Message,
        errors={403: _NO_MANAGER},
    ),
    _of_users(
        "PUT",
        "/users/{user}/status/suspend",
        user_admin.suspend_user,
        200,
        models.User,
        errors={403: _NO_MANAGER},
    ),
    _of_users(
        "PUT",
        "/users/{user}/status/activate",
        user_admin.activate_user,
        200,
        models.User,
        errors={403: _NO_MANAGER},
    ),
    _of_users(
        "PUT",
        "/users/{user}/password",
        user_admin.set_password,
        204,
        None,
        body=models.UpdatePassword,
        errors={403: _NO_MANAGER, 413: _TOO_LONG, 429: "too many attempts"},
    ),
    _of_users("GET", "/users/{user}/roles", user_admin.show_roles, 200, models.UserRoles),
    _of_users(
        "PUT",
        "/users/{user}/roles",
        user_admin.set_roles,
        200,
        models.User,
        body=models.UpdateRoles,
        errors={403: "the caller is not an owner, or their token is limited", 413: _TOO_LONG},
    ),
    _of_users(
        "GET",
        "/users/{user}/organizations",
        organizations.list_organizations_of,
        200,
        models.Organization,
        is_list=True,
    ),
    _of_users(
        "GET",
        "/users/{user}/organizations/{organization}",
        organizations.show_organization_of,
        200,
        models.Organization,
    ),
    _of_users(
        "GET",
        "/organizations",
        organizations.list_organizations,
        200,
        models.Organization,
        is_list=True,
    ),
    _of_users(
        "GET",
        "/organizations/{organization}",
        organizations.show_organization,
        200,
        models.Organization,
    ),
    *(
        operation
        for path in ("/groups", _GROUPS)
        for operation in (
            _of_users(
                "GET",
                path,
                groups.list_groups,
                200,
                group_models.Group,
                is_list=True,
                query=_MEMBER,
            ),
            _of_users("GET", f"{path}/{{group}}", groups.show_group, 200, group_models.Group),
            _of_users(
                "GET",
                f"{path}/{{group}}/members",
                groups.list_members,
                200,
                group_models.Members,
                query=_PAGE,
            ),
        )
    ),
    _of_users(
        "POST",
        _GROUPS,
        groups.create_group,
        201,
        group_models.Group,
        body=group_models.CreateGroup,
        errors={403: _NO_GROUPS, 409: "the name is taken", 413: _TOO_LONG},
    ),
    _of_users(
        "PATCH",
        "/groups/{group}",
        groups.change_group,
        200,
        group_models.Group,
        body=group_models.UpdateGroup,
        errors={403: _NO_GROUPS, 409: "the name is taken", 413: _TOO_LONG},
    ),
    _of_users(
        "DELETE",
        "/groups/{group}",
        groups.delete_group,
        200,
        models.Message,
        errors={403: _NO_GROUPS},
    ),
    _of_users(
        "GET",
        "/users/{user}/explain",
        explanation.explain,
        200,
        group_models.Answer,
        is_list=True,
        query={"provider": "string", "token": "string", "mode": "string"},
    ),
    _of_users(
        "GET", "/budgets", budgets.list_budgets, 200, budget_models.BudgetState, is_list=True
    ),
    _of_users(
        "PUT",
        "/budgets",
        budgets.set_budget,
        200,
        budget_models.BudgetState,
        body=budget_models.SetBudget,
        errors={403: _NO_BUDGETS, 413: _TOO_LONG},
    ),
    _of_users(
        "DELETE",
        "/budgets/{budget}",
        budgets.remove_budget,
        204,
        None,
        errors={403: _NO_BUDGETS},
    ),
    _of_users("GET", _OWN_KEYS, own_keys.list_own_keys, 200, models.OwnKey, is_list=True),
    _of_users(
        "PUT",
        f"{_OWN_KEYS}/{{provider}}",
        own_keys.set_own_key,
        200,
        models.OwnKey,
        body=models.SetOwnKey,
        errors={**_LIMITED, 413: _TOO_LONG},
    ),
    _of_users(
        "DELETE",
        f"{_OWN_KEYS}/{{provider}}",
        own_keys.delete_own_key,
        204,
        None,
        errors=_LIMITED,
    ),
    _of_users(
        "POST",
        f"{_KEYS}/tokens",
        tokens.create_token,
        201,
        models.NewKey,
        body=models.CreateToken,
        errors={**_LIMITED, 409: "the name is taken", 413: _TOO_LONG},
    ),
    _of_users(
        "GET",
        f"{_KEYS}/tokens",
        tokens.list_tokens,
        200,
        models.ListedKey,
        is_list=True,
        query={"include_all": _FLAG, "include_expired": _FLAG},
    ),
    _of_users("GET", f"{_KEYS}/tokens/tokenconfig", tokens.token_config, 200, models.TokenConfig),
    _of_users("GET", f"{_KEYS}/tokens/{{name}}", tokens.show_token, 200, models.Key),
    _of_users(
        "POST",
        _KEYS,
        tokens.create_session,
        201,
        models.NewKey,
        errors={403: "the session is for another user, or the token of the call is limited"},
    ),
    _of_users(
        "POST",
        f"{_KEYS}/{{key}}/rotate",
        tokens.rotate_token,
        201,
        models.NewKey,
        body=models.RotateToken,
        errors={**_LIMITED, 413: _TOO_LONG},
    ),
    _of_users("GET", f"{_KEYS}/{{key}}", tokens.show_key, 200, models.Key),
    _of_users("DELETE", f"{_KEYS}/{{key}}", tokens.delete_key, 204, None, errors=_LIMITED),
    _of_users("PUT", f"{_KEYS}/{{key}}/expire", tokens.expire_key, 204, None, errors=_LIMITED),
)
"""In order of precedence: the first path that matches is used."""
