"""Signing requests to AWS (SigV4), by Envoy's own filter, in the provider's cluster.

There host and path are already those that the provider sees, and what it must not get is gone. The
filter runs only where authz has answered that a request is centralized: one with the user's own
credential is not touched, and one without an answer of authz never gets a signature.
"""

from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    TypedExtensionConfig,
    WatchedDirectory,
)
from envoy_data_plane.envoy.extensions.common.aws.v3 import (
    AwsCredentialProvider,
    CredentialsFileCredentialProvider,
)
from envoy_data_plane.envoy.extensions.common.matching.v3 import ExtensionWithMatcher
from envoy_data_plane.envoy.extensions.filters.http.aws_request_signing.v3 import (
    AwsRequestSigning,
)
from envoy_data_plane.envoy.extensions.filters.http.composite.v3 import (
    Composite,
    ExecuteFilterAction,
)
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from authz.check.ext_authz import METADATA_NAMESPACE
from authz.config.providers import Aws
from authz.core.rules import Mode
from authz.envoy.matchers import first_match, metadata_is, xds_extension
from authz.envoy.packing import exactly, extension, packed, starting_with

SERVICE = "bedrock-mantle"
"""The service that AWS's and Anthropic's SDKs sign for at ``bedrock-mantle.REGION.api.aws``."""


def signing_filters(aws: Aws) -> list[HttpFilter]:
    """Return a cluster's filter chain, which signs requests with a central key."""
    is_centralized = metadata_is(METADATA_NAMESPACE, "mode", exactly(Mode.CENTRALIZED))
    sign = xds_extension("authz.sign", ExecuteFilterAction(typed_config=_signer(aws)))
    matching = ExtensionWithMatcher(
        xds_matcher=first_match([(is_centralized, sign)]),
        extension_config=extension("envoy.filters.http.composite", Composite()),
    )
    return [
        HttpFilter(name="authz.sign_centralized", typed_config=packed(matching)),
        HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=packed(UpstreamCodec())),
    ]


def _signer(aws: Aws) -> TypedExtensionConfig:
    config = AwsRequestSigning(
        service_name=SERVICE,
        region=aws.region,
        # With the hash of the body in it, every request would have to be buffered.
        use_unsigned_payload=True,
        # AWS demands these and the host; whatever else is signed may change on the way.
        match_included_headers=[starting_with("x-amz-")],
        credential_provider=_credentials(aws),
    )
    return extension("envoy.filters.http.aws_request_signing", config)


def _credentials(aws: Aws) -> AwsCredentialProvider | None:
    """Return where credentials come from; None means the default chain."""
    if aws.credentials_file is None:
        return None
    source = DataSource(
        filename=str(aws.credentials_file),
        watched_directory=WatchedDirectory(path=str(aws.credentials_file.parent)),
    )
    return AwsCredentialProvider(
        credentials_file_provider=CredentialsFileCredentialProvider(
            credentials_data_source=source, profile=aws.profile
        ),
        # Of the file or not at all: no other identity of this machine is taken instead.
        custom_credential_provider_chain=True,
    )
