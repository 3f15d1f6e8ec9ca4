#include "consensus/safekeeper/push.h"

namespace varve::consensus {
namespace {

Status read_fiber(pg::ServerConnection& connection, Timeline& timeline, ConnectionId id,
                  ReplyQueue& replies) {
  for (;;) {
    VARVE_TRY_ASSIGN(auto frame, connection.copy_read());
    if (!frame) {
      replies.close(Status(Code::kCancelled, "the proposer left"));
      return Status();
    }
    VARVE_TRY_ASSIGN(const auto message, decode_proposer_message(*frame));
    VARVE_TRY(timeline.receive(id, message, *frame));
  }
}

Status write_fiber(pg::ServerConnection& connection, ReplyQueue& replies) {
  for (;;) {
    VARVE_TRY_ASSIGN(const auto message, replies.receive());
    VARVE_TRY(connection.copy_write({Bytes::copy(encode(message))}));
  }
}

}  // namespace

Status run_push(pg::ServerConnection& connection, const std::shared_ptr<Timeline>& timeline) {
  ReplyQueue replies;
  const ConnectionId id = timeline->open_proposer(replies);
  Status status;
  bool left = false;
  {
    FiberContext context = fiber_context();
    context.work_class = WorkClass::kCommit;
    const ContextGuard guard(context);
    Scope scope("push", Scope::OnError::kCancelOthers);
    scope.spawn("push read", [&] {
      Status end = read_fiber(connection, *timeline, id, replies);
      left = end.ok();
      return end;
    });
    scope.spawn("push write", [&] {
      const Status end = write_fiber(connection, replies);
      // An orderly end is none of the conversation's errors.
      return left ? Status() : end;
    });
    status = scope.join();
  }
  timeline->close_proposer(id);
  if (!status.ok()) return status;
  VARVE_TRY(connection.end_copy());
  return connection.send_command_complete("START_WAL_PUSH");
}

}  // namespace varve::consensus
