#include "consensus/safekeeper/timeline.h"

#include <algorithm>

#include "consensus/safekeeper/control_file.h"
#include "wal/extent.h"

namespace varve::consensus {
namespace {

constexpr uint64_t kScanChunk = 1 << 20;

Status refusal_status(Refusal refusal) {
  const bool transient =
      refusal == Refusal::kStartMismatch || refusal == Refusal::kNotAtWritePosition;
  return Status(transient ? Code::kUnavailable : Code::kRefused, refusal_message(refusal));
}

Result<wal::LogIdentity> identity_of(const ServerInfo& server) {
  wal::LogIdentity identity;
  identity.version = wal::version_of_major(static_cast<uint16_t>(server.major()));
  if (identity.version == nullptr) {
    return Status(Code::kUnsupported,
                  "Postgres major version " + std::to_string(server.major()) + " is not supported");
  }
  if (!wal::valid_segment_size(server.segment_size)) {
    return Status(Code::kInvalid,
                  "WAL segments of " + std::to_string(server.segment_size) + " bytes");
  }
  identity.system_id = server.system_id;
  identity.segment_size = server.segment_size;
  return identity;
}

}  // namespace

// ---- replies

void ReplyQueue::push(AcceptorMessage message) {
  if (closed_) return;
  const bool acknowledgement = std::holds_alternative<AppendResponse>(message);
  if (acknowledgement && !messages_.empty() &&
      std::holds_alternative<AppendResponse>(messages_.back())) {
    messages_.back() = std::move(message);
  } else {
    messages_.push_back(std::move(message));
  }
  ready_.wake_all();
}

void ReplyQueue::close(Status why) {
  if (!closed_) closed_ = std::move(why);
  ready_.wake_all();
}

Result<AcceptorMessage> ReplyQueue::receive() {
  while (messages_.empty()) {
    if (closed_) return *closed_;
    VARVE_TRY(ready_.wait("a reply for the proposer"));
  }
  AcceptorMessage message = std::move(messages_.front());
  messages_.pop_front();
  return message;
}

// ---- life

Timeline::Timeline(World& world, const SafekeeperOptions& options, std::string directory,
                   Scope& parent, ProtocolObserver* observer)
    : world_(world),
      options_(options),
      directory_(std::move(directory)),
      observer_(observer),
      tail_(options.tail_bytes),
      scope_("timeline", parent) {}

Timeline::~Timeline() {
  VARVE_CHECK_MSG(scope_.live() == 0, "a timeline must be stopped first");
}

Status Timeline::create(Disk& disk, const std::string& directory, const AcceptorState& state,
                        Bytes prefix, std::optional<TimelineId> parent) {
  VARVE_TRY_ASSIGN(const wal::LogIdentity identity, identity_of(state.server));
  const Lsn start = state.timeline_start;
  const uint32_t offset = start.segment_offset(identity.segment_size);
  if (!wal::can_be_boundary(start, identity.segment_size)) {
    return Status(Code::kInvalid, "a timeline can't begin inside a record or page header")
        .with_lsn(start);
  }
  if (!prefix.empty() && prefix.size() != offset) {
    return Status(Code::kInvalid, "the WAL in front of a timeline must begin with its segment")
        .with_lsn(start);
  }
  const bool missing = prefix.empty() && offset > 0;
  if (missing) {
    MutableBytes header = MutableBytes::zeroed(wal::kLongHeaderSize);
    wal::write_page_header(identity, Lsn(start.value - offset), 0, 0, header.span());
    prefix = std::move(header).freeze().slice(0, std::min<size_t>(wal::kLongHeaderSize, offset));
  }
  VARVE_TRY(disk.make_directory(directory));
  SegmentLog log(disk, directory, identity.segment_size);
  VARVE_TRY(log.create(start, std::move(prefix)));
  if (missing) {
    const std::string note = directory + "/" + MissingPrefix{parent}.file_name();
    VARVE_TRY(disk.open(note, OpenMode::kCreateNew).status());
  }
  // The last: it syncs the directory, and with it the names above.
  return write_control_file(disk, directory, state);
}

Result<std::unique_ptr<Timeline>> Timeline::load(World& world, const SafekeeperOptions& options,
                                                 std::string directory, Scope& parent,
                                                 ProtocolObserver* observer) {
  std::unique_ptr<Timeline> timeline(
      new Timeline(world, options, std::move(directory), parent, observer));
  VARVE_TRY(timeline->start());
  return timeline;
}

Status Timeline::start() {
  // An earlier life of this timeline, in this process or a killed one, may have written and renamed
  // what only the kernel has yet. Whatever is read from here on is vouched for, in votes and in the
  // control file, so it is made durable first.
  VARVE_TRY(world_.disk.sync_directory(directory_));
  VARVE_TRY_ASSIGN(AcceptorState state, read_control_file(world_.disk, directory_));
  VARVE_TRY_ASSIGN(const wal::LogIdentity identity, identity_of(state.server));
  log_ = std::make_unique<SegmentLog>(world_.disk, directory_, state.server.segment_size);
  VARVE_TRY(log_->open());
  VARVE_TRY(find_missing_prefix());
  VARVE_TRY(log_->sync_from(state.commit));
  decoder_ = std::make_unique<wal::Decoder>(wal::DecoderOptions{identity, wal::Depth::kHeader, {}});
  VARVE_TRY_ASSIGN(const Lsn flush, scan(state));
  core_.emplace(std::move(state), flush);
  if (observer_ != nullptr) {
    observer_->on(LogFlushed{core_->state().node, core_->state().term, flush});
  }
  reset_decoder(flush);
  publish();
  scope_.spawn("timeline disk", [this] { return disk_fiber(); });
  scope_.spawn("timeline prepare", [this] { return prepare_fiber(); });
  scope_.spawn("timeline save", [this] { return save_fiber(); });
  return Status();
}

Status Timeline::find_missing_prefix() {
  VARVE_TRY_ASSIGN(const auto entries, world_.disk.list(directory_));
  for (const DirectoryEntry& entry : entries) {
    if (auto missing = MissingPrefix::parse_file_name(entry.name)) missing_prefix_ = missing;
  }
  return Status();
}

// The end of the last complete record. What lies behind it was never acknowledged: torn, or never
// synced.
Result<Lsn> Timeline::scan(const AcceptorState& state) {
  decoder_->reset(state.commit, std::nullopt);
  const Lsn limit = log_->end_of_run(state.commit);
  if (state.commit < log_->oldest() || state.commit > limit) {
    return Status(Code::kCorrupt, "the WAL that the control file speaks of is missing")
        .with_object(directory_)
        .with_lsn(state.commit)
        .with_hint("restore this timeline's directory from another member");
  }
  wal::Record record;
  bool more = true;
  // In steps that grow: mostly there is next to nothing, and what is read far beyond the end is
  // cached in large units, which makes each small write into them slower.
  uint64_t chunk = kWalPageSize;
  for (Lsn at = state.commit; more && at < limit; chunk = std::min(2 * chunk, kScanChunk)) {
    const uint64_t length = std::min<uint64_t>(chunk, limit - at);
    VARVE_TRY_ASSIGN(const auto pieces, log_->read(at, length));
    for (const Bytes& piece : pieces) {
      decoder_->feed(at, piece);
      wal::Step step = decoder_->next(record);
      while (step == wal::Step::kRecord) step = decoder_->next(record);
      more = step == wal::Step::kNeedMore;
      if (!more) break;
      at = at + piece.size();
    }
  }
  const Lsn end = std::max(decoder_->boundary(), state.commit);
  if (end < state.flush) {
    return Status(Code::kCorrupt, "WAL that was durable is damaged: a scan ends at " +
                                      end.to_string() + ", the control file vouches for " +
                                      state.flush.to_string())
        .with_object(log_->path_of(end.segment(log_->segment_size())))
        .with_lsn(end)
        .with_hint("restore this timeline's directory from another member");
  }
  return end;
}

void Timeline::stop(Status why) {
  if (failure_.ok()) failure_ = why;
  scope_.cancel();
  for (auto& [number, replies] : proposers_) replies->close(why);
  const Shield shield;
  scope_.join().ignore("its fibers end with what ended the timeline");
  progress_.wake_all();
  room_.wake_all();
  flush_.set(flush_.get());
  commit_.set(commit_.get());
}

void Timeline::fail(Status why) {
  if (!failure_.ok()) return;
  world_.log.warning("timeline_failed", "a timeline stopped serving and will be loaded again",
                     {{"timeline", id().timeline}, {"status", why}});
  failure_ = why;
  for (auto& [number, replies] : proposers_) replies->close(why);
  progress_.wake_all();
  room_.wake_all();
  flush_.set(flush_.get());
  commit_.set(commit_.get());
}

// ---- the acceptor

EffectNumber Timeline::step(const AcceptorInput& input, const Bytes& wal, Lsn record_end) {
  const NoSuspend no_suspend;
  std::vector<AcceptorEffect> effects;
  core_->step(input, effects, observer_);
  EffectNumber last = 0;
  for (AcceptorEffect& effect : effects) {
    if (const auto* send_effect = std::get_if<SendEffect>(&effect.what)) {
      send(*send_effect);
      continue;
    }
    if (const auto* refuse = std::get_if<RefuseEffect>(&effect.what)) {
      const auto found = proposers_.find(refuse->to.value);
      if (found != proposers_.end()) found->second->close(refusal_status(refuse->reason));
      continue;
    }
    last = effect.number;
    QueuedEffect queued{std::move(effect), {}, {}};
    if (std::holds_alternative<WriteEffect>(queued.effect.what)) {
      queued.wal = wal;
      queued.record_end = record_end;
      queued_bytes_ += wal.size();
    } else if (const auto* cut = std::get_if<TruncateEffect>(&queued.effect.what)) {
      reset_decoder(cut->at);
      tail_.truncate(cut->at);
    }
    queue_.push_back(std::move(queued));
  }
  if (last != 0) work_.wake_all();
  publish();
  return last;
}

void Timeline::publish() {
  if (core_->flush() != flush_.get()) flush_.set(core_->flush());
  if (core_->commit() != commit_.get()) commit_.set(core_->commit());
}

void Timeline::send(const SendEffect& effect) {
  const auto found = proposers_.find(effect.to.value);
  if (found == proposers_.end()) return;
  AcceptorMessage message = effect.message;
  auto* response = std::get_if<AppendResponse>(&message);
  if (response != nullptr && response->term == core_->term() && response->flush.valid()) {
    for (const auto& [reader, feedback] : readers_) {
      const auto lower = [](uint64_t& to, uint64_t from) {
        if (from != 0 && (to == 0 || from < to)) to = from;
      };
      lower(response->standby.xmin, feedback.standby.xmin);
      lower(response->standby.catalog_xmin, feedback.standby.catalog_xmin);
      response->standby.time = std::max(response->standby.time, feedback.standby.time);
      if (feedback.pageserver) response->pageserver = feedback.pageserver;
    }
  }
  found->second->push(std::move(message));
}

void Timeline::reset_decoder(Lsn boundary) {
  decoder_->reset(boundary, std::nullopt);
}

// Feeds WAL that is about to be accepted; the end of the last complete record.
Result<Lsn> Timeline::decode(Lsn begin, std::span<const uint8_t> bytes) {
  wal::Record record;
  decoder_->feed(begin, bytes);
  wal::Step step = decoder_->next(record);
  while (step == wal::Step::kRecord) step = decoder_->next(record);
  if (step == wal::Step::kNeedMore) return decoder_->boundary();
  if (step == wal::Step::kCorrupt) return decoder_->status();
  return Status(Code::kCorrupt, "zeros where a record must begin").with_lsn(decoder_->boundary());
}

ConnectionId Timeline::open_proposer(ReplyQueue& replies) {
  const ConnectionId connection{next_connection_++};
  proposers_[connection.value] = &replies;
  if (!failure_.ok()) replies.close(failure_);
  return connection;
}

void Timeline::close_proposer(ConnectionId connection) {
  proposers_.erase(connection.value);
  if (failure_.ok()) step(Disconnected{connection});
}

Status Timeline::receive(ConnectionId from, const DecodedProposerMessage& decoded,
                         const Bytes& frame) {
  while (failure_.ok() && queued_bytes_ > options_.queue_bytes) {
    VARVE_TRY(room_.wait("room in the write queue"));
  }
  if (!failure_.ok()) return failure_;
  const auto* append = std::get_if<AppendRequest>(&decoded.message);
  if (append == nullptr || !core_->accepts(from, *append)) {
    step(MessageIn{from, decoded.message});
    return Status();
  }
  const auto record_end = decode(append->begin, decoded.wal);
  if (!record_end.ok()) {
    // Nothing of it was taken; what the decoder saw is forgotten when the proposer cuts the log
    // again.
    step(Disconnected{from});
    return Status(record_end.status()).with_context("refused WAL");
  }
  const Bytes wal = frame.slice(frame.size() - decoded.wal.size());
  tail_.append(append->begin, wal);
  step(MessageIn{from, decoded.message}, wal, *record_end);
  if (!log_->prepared(wanted_segment())) written_.wake_all();
  return Status();
}

// ---- the disk

void Timeline::effect_done(Lsn record_end) {
  const EffectNumber number = queue_.front().effect.number;
  queued_bytes_ -= queue_.front().wal.size();
  queue_.pop_front();
  done_ = number;
  step(EffectDone{number, record_end});
}

Status Timeline::disk_fiber() {
  FiberContext context = fiber_context();
  context.work_class = WorkClass::kCommit;
  const ContextGuard guard(context);
  for (;;) {
    while (queue_.empty()) VARVE_TRY(work_.wait("work for the disk"));
    Status status;
    if (std::holds_alternative<WriteEffect>(queue_.front().effect.what)) {
      status = carry_out_writes();
    } else {
      // A copy: the queue grows while this waits.
      const AcceptorEffect effect = queue_.front().effect;
      status = carry_out(effect);
      if (status.ok()) effect_done(Lsn());
    }
    if (!status.ok()) {
      if (!status.is(Code::kCancelled)) fail(status);
      return status;
    }
    progress_.wake_all();
    room_.wake_all();
  }
}

Status Timeline::carry_out_writes() {
  std::vector<Bytes> data;
  uint64_t bytes = 0;
  size_t writes = 0;
  const Lsn begin = std::get<WriteEffect>(queue_.front().effect.what).begin;
  Lsn end = begin;
  for (const QueuedEffect& queued : queue_) {
    const auto* write = std::get_if<WriteEffect>(&queued.effect.what);
    if (write == nullptr || write->begin != end || (writes > 0 && bytes >= options_.batch_bytes))
      break;
    data.push_back(queued.wal);
    bytes += queued.wal.size();
    end = write->end;
    ++writes;
  }
  const bool durable =
      writes < queue_.size() && std::holds_alternative<SyncEffect>(queue_[writes].effect.what);
  VARVE_TRY(log_->write(begin, std::move(data), durable));
  for (size_t i = 0; i < writes; ++i) effect_done(queue_.front().record_end);
  if (durable) effect_done(Lsn());
  return Status();
}

Status Timeline::carry_out(const AcceptorEffect& effect) {
  if (const auto* persist = std::get_if<PersistEffect>(&effect.what)) {
    return write_control_file(world_.disk, directory_, persist->state);
  }
  if (const auto* cut = std::get_if<TruncateEffect>(&effect.what)) return log_->truncate(cut->at);
  VARVE_CHECK(std::holds_alternative<SyncEffect>(effect.what));
  return log_->sync();
}

// Half a segment ahead of the log: time enough to make the next one, and a branch that is hardly
// written to has one segment, not two. One that nobody has written to yet, wherever in its segment
// it begins, must not make the next branch wait for a segment's zeros.
uint64_t Timeline::wanted_segment() const {
  const uint32_t segment_size = log_->segment_size();
  if (core_->write_position() == start_position()) return start_position().segment(segment_size);
  return (core_->write_position() + segment_size / 2).segment(segment_size);
}

Status Timeline::prepare_fiber() {
  for (;;) {
    const uint64_t next = wanted_segment();
    if (!log_->prepared(next)) {
      const Status status = log_->prepare(next);
      if (!status.ok()) {
        if (status.is(Code::kCancelled)) return status;
        // Not needed yet; the write that needs it fails by itself if this lasts.
        world_.log.warning("segment_not_prepared", "no WAL segment could be made ahead of need",
                           {{"timeline", id().timeline}, {"status", status}});
        VARVE_TRY(sleep_for(options_.reload_pause));
        continue;
      }
    }
    VARVE_TRY(written_.wait("the log to grow"));
  }
}

Status Timeline::save_fiber() {
  for (;;) {
    VARVE_TRY(sleep_for(options_.save_interval));
    if (!failure_.ok()) return Status();
    step(SaveState{});
    const AcceptorState& state = core_->state();
    const Lsn horizon = std::min({state.remote_consistent, state.backup, state.commit});
    VARVE_TRY(wait_done(state.backup > state.timeline_start ? core_->last_effect() : 0));
    if (state.backup > state.timeline_start) VARVE_TRY(log_->remove_below(horizon));
  }
}

Status Timeline::wait_done(EffectNumber number) {
  while (done_ < number) {
    if (!failure_.ok()) return failure_;
    VARVE_TRY(progress_.wait("a decision to be durable"));
  }
  return Status();
}

// ---- readers and control

Result<std::vector<Bytes>> Timeline::read(Lsn begin, uint64_t length) {
  if (auto pieces = tail_.read(begin, length)) return std::move(*pieces);
  return log_->read(begin, length);
}

Status Timeline::write_prefix(Lsn begin, Bytes wal) {
  VARVE_CHECK(begin + wal.size() <= start_position());
  return log_->write_in_front(begin, std::move(wal));
}

Status Timeline::finish_prefix() {
  VARVE_CHECK(missing_prefix_.has_value());
  const std::string note = directory_ + "/" + missing_prefix_->file_name();
  VARVE_TRY(world_.disk.remove(note));
  VARVE_TRY(world_.disk.sync_directory(directory_));
  missing_prefix_.reset();
  return Status();
}

uint64_t Timeline::open_reader() {
  const uint64_t reader = next_reader_++;
  readers_[reader] = {};
  return reader;
}

void Timeline::close_reader(uint64_t reader) {
  readers_.erase(reader);
}

void Timeline::feedback(uint64_t reader, const ReaderFeedback& feedback) {
  const auto found = readers_.find(reader);
  if (found == readers_.end()) return;
  found->second = feedback;
  if (feedback.pageserver && failure_.ok()) {
    step(Progress{Lsn(), std::min(feedback.pageserver->remote_consistent, core_->commit())});
  }
}

Status Timeline::switch_membership(const Membership& membership) {
  if (!failure_.ok()) return failure_;
  if (membership == core_->state().membership) return Status();
  if (const auto refusal = core_->check_membership(membership)) {
    return Status(*refusal == Refusal::kNotAMember ? Code::kInvalid : Code::kStale,
                  refusal_message(*refusal));
  }
  return wait_done(step(SwitchMembership{membership}));
}

Status Timeline::bump_term(Term term) {
  if (!failure_.ok()) return failure_;
  if (term <= core_->term()) return wait_done(core_->last_effect());
  return wait_done(step(BumpTerm{term}));
}

Status Timeline::wait_failed() {
  while (failure_.ok()) VARVE_TRY(progress_.wait("the timeline to fail"));
  return Status();
}

TimelineStatus Timeline::status() const {
  return {core_->state(),         core_->flush(),    core_->commit(),
          core_->last_log_term(), proposers_.size(), readers_.size()};
}

}  // namespace varve::consensus
