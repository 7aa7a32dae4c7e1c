"""Signing requests to AWS (SigV4), by Envoy's own filter, in the provider's cluster.

There host and path are already those that the provider sees, and what it must not get is gone. The
filter runs only where authz has answered that a request is centralized: one with the user's own
credential is not touched, and one without an answer of authz never gets a signature.
"""

import betterproto2
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
from envoy_data_plane.envoy.extensions.matching.common_inputs.network.v3 import (
    DynamicMetadataInput,
    DynamicMetadataInputPathSegment,
)
from envoy_data_plane.envoy.extensions.matching.input_matchers.metadata.v3 import (
    Metadata as MetadataMatcher,
)
from envoy_data_plane.envoy.type.matcher.v3 import ValueMatcher
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig as XdsExtension
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
)

from authz.check.ext_authz import METADATA_NAMESPACE
from authz.config.providers import Aws
from authz.core.rules import Mode
from authz.envoy.packing import exactly, extension, packed, starting_with

SERVICE = "bedrock-mantle"
"""The service that AWS's and Anthropic's SDKs sign for at ``bedrock-mantle.REGION.api.aws``."""


def signing_filters(aws: Aws) -> list[HttpFilter]:
    """Return a cluster's filter chain, which signs requests with a central key."""
    centralized = MatcherMatcherListFieldMatcher(
        predicate=MatcherMatcherListPredicate(
            single_predicate=MatcherMatcherListPredicateSinglePredicate(
                input=_xds(
                    "envoy.matching.inputs.dynamic_metadata",
                    DynamicMetadataInput(
                        filter=METADATA_NAMESPACE,
                        path=[DynamicMetadataInputPathSegment(key="mode")],
                    ),
                ),
                custom_match=_xds(
                    "envoy.matching.matchers.metadata_matcher",
                    MetadataMatcher(value=ValueMatcher(string_match=exactly(Mode.CENTRALIZED))),
                ),
            )
        ),
        on_match=MatcherOnMatch(
            action=_xds("authz.sign", ExecuteFilterAction(typed_config=_signer(aws)))
        ),
    )
    matching = ExtensionWithMatcher(
        xds_matcher=Matcher(matcher_list=MatcherMatcherList(matchers=[centralized])),
        extension_config=extension("envoy.filters.http.composite", Composite()),
    )
    return [
        HttpFilter(name="authz.sign_centralized", typed_config=packed(matching)),
        HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=packed(UpstreamCodec())),
    ]


def _xds(name: str, message: betterproto2.Message) -> XdsExtension:
    return XdsExtension(name=name, typed_config=packed(message))


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
