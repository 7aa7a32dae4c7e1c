package gateway

default result := {"allowed": false}

http := input.attributes.request.http

token := trim_prefix(http.headers.authorization, "Bearer ")

user := data.tokens[crypto.sha256(token)]

result := {
	"allowed": true,
	"headers": {"x-api-key": data.keys[input.attributes.contextExtensions.provider]},
	"request_headers_to_remove": ["authorization"],
} if user
