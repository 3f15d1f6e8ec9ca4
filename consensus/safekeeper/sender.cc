#include "consensus/safekeeper/sender.h"

#include <algorithm>
#include <optional>

#include "wire/pg/replication.h"

namespace varve::consensus {
namespace {

class Sender {
 public:
  Sender(World& world, const SafekeeperOptions& options, pg::ServerConnection& connection,
         Timeline& timeline, const SenderRequest& request)
      : world_(world),
        options_(options),
        connection_(connection),
        timeline_(timeline),
        request_(request),
        sent_(request.start) {}

  Status send_fiber() {
    for (;;) {
      VARVE_TRY(check());
      const Lsn end = limit();
      if (sent_ < end) {
        if (!request_.term && end - sent_ < kMaxAppendBytes) VARVE_TRY(pause());
        VARVE_TRY(send_piece(limit()));
      } else {
        VARVE_TRY(wait_for_more(end));
      }
    }
  }

  Status receive_fiber(uint64_t reader) {
    ReaderFeedback feedback;
    for (;;) {
      VARVE_TRY_ASSIGN(auto content, connection_.copy_read());
      if (!content) return Status(Code::kNotFound, "the reader left");
      VARVE_TRY_ASSIGN(const auto message, pg::parse_receiver_message(*content));
      if (const auto* standby = std::get_if<pg::HotStandbyFeedback>(&message)) {
        feedback.standby = {standby->sent, standby->xmin, standby->catalog_xmin};
        timeline_.feedback(reader, feedback);
      } else if (const auto* storage = std::get_if<pg::PageserverFeedback>(&message)) {
        Reader body(storage->body);
        VARVE_TRY_ASSIGN(feedback.pageserver, decode_feedback(body));
        timeline_.feedback(reader, feedback);
      } else if (std::get<pg::StandbyStatus>(message).reply_requested) {
        VARVE_TRY(connection_.copy_write(
            {pg::encode(pg::Keepalive{limit(), world_.clock.wall(), false})}));
      }
    }
  }

 private:
  Lsn limit() { return request_.term ? timeline_.flushed().get() : timeline_.committed().get(); }

  Status check() {
    VARVE_TRY(timeline_.failure());
    if (request_.term && timeline_.term() != *request_.term) {
      return Status(Code::kStale, "the safekeeper's term is " + timeline_.term().to_string() +
                                      ", not " + request_.term->to_string());
    }
    return Status();
  }

  // A reader of each commit would be woken as often as the proposer, and it waits for none of them.
  Status pause() {
    if (!last_piece_) return Status();
    const Duration rest = *last_piece_ + options_.sender_pause - world_.clock.now();
    return rest > Duration() ? sleep_for(rest) : Status();
  }

  Status send_piece(Lsn end) {
    Lsn to = std::min(end, sent_ + kMaxAppendBytes);
    // Cut on a page edge, unless it reaches the end.
    if (to < end && to.page_start() > sent_) to = to.page_start();
    VARVE_TRY_ASSIGN(auto pieces, timeline_.read(sent_, to - sent_));
    // The log may have been cut and written again while the disk was read.
    VARVE_TRY(check());
    pieces.insert(pieces.begin(), pg::encode_xlog_data_header(sent_, end, world_.clock.wall()));
    VARVE_TRY(connection_.copy_write(std::move(pieces)));
    sent_ = to;
    last_piece_ = world_.clock.now();
    return Status();
  }

  Status wait_for_more(Lsn end) {
    Watch<Lsn>& position = request_.term ? timeline_.flushed() : timeline_.committed();
    const Instant deadline = world_.clock.now() + options_.sender_heartbeat;
    const Status status = position.wait_change("WAL to send", deadline);
    if (!status.is(Code::kDeadlineExceeded)) return status;
    return connection_.copy_write({pg::encode(pg::Keepalive{end, world_.clock.wall(), true})});
  }

  World& world_;
  const SafekeeperOptions& options_;
  pg::ServerConnection& connection_;
  Timeline& timeline_;
  const SenderRequest request_;
  Lsn sent_;
  std::optional<Instant> last_piece_;  // when it was sent
};

}  // namespace

Status run_sender(World& world, const SafekeeperOptions& options, pg::ServerConnection& connection,
                  const std::shared_ptr<Timeline>& timeline, const SenderRequest& request) {
  if (request.start < timeline->readable_from()) {
    return Status(Code::kBelowCutoff,
                  "WAL from this position on is not on this safekeeper any more")
        .with_lsn(timeline->readable_from());
  }
  const Lsn end = request.term ? timeline->flushed().get() : timeline->committed().get();
  if (request.start > end) {
    return Status(Code::kInvalid,
                  "the requested position lies beyond the end of the log, " + end.to_string())
        .with_lsn(request.start);
  }
  VARVE_TRY(connection.begin_copy(pg::ServerConnection::Copy::kBoth));
  Sender sender(world, options, connection, *timeline, request);
  const uint64_t reader = timeline->open_reader();
  Status status;
  {
    Scope scope("sender", Scope::OnError::kCancelOthers);
    scope.spawn("send WAL", [&] { return sender.send_fiber(); });
    scope.spawn("read feedback", [&] { return sender.receive_fiber(reader); });
    status = scope.join();
  }
  timeline->close_reader(reader);
  // The reader ended the copy in order: so do we.
  if (!status.is(Code::kNotFound)) return status;
  VARVE_TRY(connection.end_copy());
  return connection.send_command_complete("START_STREAMING");
}

}  // namespace varve::consensus
