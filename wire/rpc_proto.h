// Protobuf messages as payloads of calls. The heavy header stays in the .cc.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "wire/rpc.h"
#include "wire/rpc_client.h"
#include "wire/rpc_server.h"

namespace google::protobuf {
class MessageLite;
}

namespace varve {

// Deterministic: equal messages give equal bytes, maps too.
Bytes serialize_proto(const google::protobuf::MessageLite& message);
// Invalid names `what`. At most 64 nested messages.
Status parse_proto(const Bytes& bytes, std::string_view what,
                   google::protobuf::MessageLite& message);
// Protobuf strings must be UTF-8; bytes that aren't become '?'.
std::string to_utf8(std::string_view text);

// A message and the attachments that travel with it.
template <class M>
struct WithAttachments {
  M message;
  std::vector<Bytes> attachments;
};

// RpcClient::call with messages. `attachments` go with the request.
template <class Response, class Request>
Result<WithAttachments<Response>> call_with_attachments(RpcClient& client, const RpcMethod& method,
                                                        const Request& request,
                                                        std::vector<Bytes> attachments = {}) {
  VARVE_TRY_ASSIGN(RpcPayload payload, client.call(method, RpcPayload(serialize_proto(request),
                                                                      std::move(attachments))));
  WithAttachments<Response> response;
  VARVE_TRY(parse_proto(payload.head, method.name, response.message));
  response.attachments = std::move(payload.attachments);
  return response;
}

template <class Response, class Request>
Result<Response> call(RpcClient& client, const RpcMethod& method, const Request& request) {
  VARVE_TRY_ASSIGN(WithAttachments<Response> response,
                   call_with_attachments<Response>(client, method, request));
  return std::move(response.message);
}

// RpcServer::add with messages: function(CallContext&, const Request&) -> Result<Response>.
template <class Request, class Response, class F>
void add_method(RpcServer& server, const RpcMethod& method, F function) {
  const char* name = method.name;
  server.add(method,
             [name, function = std::move(function)](CallContext& context,
                                                    RpcPayload payload) -> Result<RpcPayload> {
               Request request;
               VARVE_TRY(parse_proto(payload.head, name, request));
               payload = RpcPayload();
               Result<Response> response = function(context, std::as_const(request));
               if (!response.ok()) return response.status();
               return RpcPayload(serialize_proto(*response));
             });
}

// The same with attachments on both sides: function(CallContext&, WithAttachments<Request>) ->
// Result<WithAttachments<Response>>.
template <class Request, class Response, class F>
void add_method_with_attachments(RpcServer& server, const RpcMethod& method, F function) {
  const char* name = method.name;
  server.add(method,
             [name, function = std::move(function)](CallContext& context,
                                                    RpcPayload payload) -> Result<RpcPayload> {
               WithAttachments<Request> request;
               VARVE_TRY(parse_proto(payload.head, name, request.message));
               request.attachments = std::move(payload.attachments);
               Result<WithAttachments<Response>> response = function(context, std::move(request));
               if (!response.ok()) return response.status();
               return RpcPayload(serialize_proto(response->message),
                                 std::move(response->attachments));
             });
}

}  // namespace varve
