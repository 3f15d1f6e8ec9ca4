#include "storage/service/receiver.h"

#include <algorithm>

namespace varve::storage {
namespace {

constexpr Duration kReportInterval = Duration::millis(200);
constexpr Duration kFirstPause = Duration::millis(50);
constexpr Duration kLongestPause = Duration::seconds(1);
// A sender with nothing to send says so every second.
constexpr Duration kSilence = Duration::seconds(10);
constexpr Duration kPatience = Duration::seconds(3);

}  // namespace

LogReceiver::LogReceiver(World& world, Timeline& timeline, LogSource source, Scope& parent)
    : world_(world),
      timeline_(timeline),
      source_(std::move(source)),
      scope_("receive the log", parent) {
  ContextGuard ingest({Instant::never(), WorkClass::kIngest, fiber_context().account, 0});
  scope_.spawn("receive the log", [this] { return run(); });
}

void LogReceiver::stop() {
  scope_.cancel();
  scope_.join().ignore("it ends by being cancelled");
}

Status LogReceiver::run() {
  Duration pause = kFirstPause;
  for (size_t turn = 0;; ++turn) {
    const Lsn before = timeline_.last_record();
    const Status status = receive_from(source_.safekeepers[turn % source_.safekeepers.size()]);
    VARVE_TRY(check_cancelled());
    const bool progress = timeline_.last_record() > before;
    if (status.is(Code::kCorrupt)) {
      tell("log_not_digestible", status);
    } else if (progress) {
      tell("log_stream_lost", status);
    }
    if (progress) told_ = Status();
    pause = progress ? kFirstPause : std::min(pause * 2, kLongestPause);
    VARVE_TRY(sleep_for(pause));
  }
}

// Once for each reason: a member that is away stays away for many turns.
void LogReceiver::tell(const char* event, const Status& status) {
  if (status.code() == told_.code()) return;
  told_ = status;
  world_.log.warning(
      event, "the log is asked for from another safekeeper",
      {{"timeline", timeline_.id()}, {"ingested", timeline_.last_record()}, {"why", status}});
}

Status LogReceiver::receive_from(const Address& address) {
  VARVE_TRY_ASSIGN(const std::unique_ptr<consensus::LogStream> stream, open_stream(address));
  Scope reports("report how far ingest is");
  reports.spawn("report how far ingest is", [&]() -> Status {
    for (;;) {
      VARVE_TRY(report(*stream));
      VARVE_TRY(sleep_for(kReportInterval));
    }
  });
  const Status ended = [&]() -> Status {
    for (Instant progressed = world_.clock.now();;) {
      VARVE_TRY_ASSIGN(const std::optional<Bytes> piece, next_piece(*stream));
      if (piece) {
        VARVE_TRY(timeline_.receive(Lsn(stream->position().value - piece->size()), *piece));
        progressed = world_.clock.now();
      } else if (timeline_.awaited() && world_.clock.now() - progressed > kPatience) {
        // It may be cut off from the compute that others hear.
        return Status(Code::kUnavailable, "it has nothing new, and somebody waits for more");
      }
    }
  }();
  reports.cancel();
  reports.join().ignore("it ends by being cancelled, or as the connection did");
  return ended;
}

// A host that vanished without a word is noticed by its silence.
Result<std::unique_ptr<consensus::LogStream>> LogReceiver::open_stream(const Address& address) {
  const DeadlineGuard silence(kSilence);
  return consensus::LogStream::open(world_.network, address, source_.credentials,
                                    timeline_.wanted(), std::nullopt);
}

Result<std::optional<Bytes>> LogReceiver::next_piece(consensus::LogStream& stream) {
  const DeadlineGuard silence(kSilence);
  return stream.next();
}

Status LogReceiver::report(consensus::LogStream& stream) {
  consensus::PageserverFeedback feedback;
  feedback.received = timeline_.last_record();
  feedback.disk_consistent = timeline_.flushed();
  feedback.remote_consistent = timeline_.flushed();
  feedback.reply_time = world_.clock.wall();
  feedback.corruption_detected = timeline_.quarantined() > 0;
  return stream.report(feedback);
}

}  // namespace varve::storage
