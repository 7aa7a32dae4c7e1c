// OPA as an ext_authz server: OPA's engine and store behind Envoy's gRPC service.
//
// It does what OPA's Envoy plugin does for a check, which the Go module proxy does not have: the
// request becomes the input of a prepared query, and its result the response.
// Usage: opa SOCKET POLICY DATA
package main

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

type server struct {
	auth.UnimplementedAuthorizationServer
	query rego.PreparedEvalQuery
}

func (s *server) Check(ctx context.Context, request *auth.CheckRequest) (*auth.CheckResponse, error) {
	text, err := protojson.Marshal(request)
	if err != nil {
		return nil, err
	}
	var input any
	if err := json.Unmarshal(text, &input); err != nil {
		return nil, err
	}
	value, err := ast.InterfaceToValue(input)
	if err != nil {
		return nil, err
	}
	results, err := s.query.Eval(ctx, rego.EvalParsedInput(value))
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return denied(), nil
	}
	found, ok := results[0].Expressions[0].Value.(map[string]any)
	if !ok || found["allowed"] != true {
		return denied(), nil
	}
	response := &auth.OkHttpResponse{}
	for name, value := range found["headers"].(map[string]any) {
		response.Headers = append(response.Headers, &core.HeaderValueOption{
			Header:       &core.HeaderValue{Key: name, Value: value.(string)},
			AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	for _, name := range found["request_headers_to_remove"].([]any) {
		response.HeadersToRemove = append(response.HeadersToRemove, name.(string))
	}
	return &auth.CheckResponse{
		Status:       &status.Status{Code: int32(codes.OK)},
		HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: response},
	}, nil
}

func denied() *auth.CheckResponse {
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
			Status: &envoytype.HttpStatus{Code: envoytype.StatusCode_Unauthorized},
		}},
	}
}

func main() {
	socket, policyFile, dataFile := os.Args[1], os.Args[2], os.Args[3]
	policy, err := os.ReadFile(policyFile)
	check(err)
	text, err := os.ReadFile(dataFile)
	check(err)
	var data map[string]any
	check(json.Unmarshal(text, &data))
	query, err := rego.New(
		rego.Query("data.gateway.result"),
		rego.Module(policyFile, string(policy)),
		rego.Store(inmem.NewFromObject(data)),
	).PrepareForEval(context.Background())
	check(err)
	listener, err := net.Listen("unix", socket)
	check(err)
	grpcServer := grpc.NewServer()
	auth.RegisterAuthorizationServer(grpcServer, &server{query: query})
	check(grpcServer.Serve(listener))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
