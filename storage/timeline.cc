// Life of a timeline and the way of the log into it. Reading is timeline_read.cc, flushing and
// compaction timeline_flush.cc and timeline_compact.cc, questions about the log timeline_log.cc.
#include "storage/timeline.h"

#include "base/check.h"
#include "storage/value.h"

namespace varve::storage {
namespace {

constexpr uint64_t kReservedAtOnce = 1 << 20;

wal::DecoderOptions decoder_options(const ClusterIdentity& cluster, const wal::Version* version) {
  wal::DecoderOptions options;
  options.identity.version = version;
  options.identity.system_id = cluster.system_id;
  options.identity.segment_size = cluster.segment_size;
  return options;
}

}  // namespace

Timeline::Timeline(const StorageWorld& world, const TenantShardId& tenant, const TimelineId& id,
                   TimelineIndex index, Timeline* ancestor, Generation generation,
                   ObjectNumbers& numbers, BlockCache& cache, const StorageOptions& options,
                   Scope& parent)
    : world_(world),
      tenant_(tenant),
      id_(id),
      version_(wal::version_of_major(index.cluster.postgres_major)),
      index_(std::move(index)),
      ancestor_(ancestor),
      generation_(generation),
      options_(options),
      scope_("timeline", parent),
      store_(world, tenant, id, cache, scope_),
      numbers_(numbers),
      decoder_(decoder_options(index_.cluster, version_)),
      last_record_(index_.flushed.boundary) {
  VARVE_CHECK_MSG(version_ != nullptr, "whoever read the index must refuse an unknown version");
  VARVE_CHECK(index_.ancestor.has_value() == (ancestor_ != nullptr));
  for (const LayerRef& layer : index_.layers) map_.insert(layer);
}

Timeline::~Timeline() {
  VARVE_CHECK_MSG(!running_, "a timeline is stopped before it goes");
}

// With the counters as of `at`, the end of the last record that took effect.
Status Timeline::start_ingest(Lsn at) {
  VARVE_TRY_ASSIGN(const std::optional<Item> counters,
                   metadata(Key::make(KeyKind::kCheckpointState), at));
  if (!counters) {
    return Status(Code::kCorrupt, "the timeline has no checkpoint state")
        .with_object("timeline " + id_.to_string())
        .with_lsn(at);
  }
  VARVE_TRY_ASSIGN(const wal::CheckpointState state,
                   wal::CheckpointState::decode(*version_, counters->payload));
  ingest_.emplace(*version_, state, index_.cluster.data_checksums, *this, options_.ingest);
  return Status();
}

Status Timeline::start() {
  VARVE_CHECK(!running_);
  VARVE_CHECK(ancestor_ == nullptr || ancestor_->last_record() >= index_.start.boundary);
  // First of all: from now on an index of an older life that arrives late is not the newest.
  VARVE_TRY(put_index(index_));
  VARVE_TRY(store_.clean(index_.layers));
  const LogPosition& flushed = index_.flushed;
  VARVE_TRY(start_ingest(flushed.boundary));

  log_.emplace(index_.cluster.segment_size, flushed);
  // A chunk of this timeline's own; the ancestor's ends at the branch point, where ours begins.
  std::optional<Item> chunk;
  if (flushed.boundary > index_.start.boundary) {
    VARVE_TRY_ASSIGN(chunk, metadata(Key::log_chunk(log_->number()), flushed.boundary));
  }
  if (chunk && chunk->lsn > index_.start.boundary) {
    VARVE_TRY_ASSIGN(log_, LogChunkWriter::resume(index_.cluster.segment_size, chunk->payload));
    if (!(log_->position() == flushed)) {
      return Status(Code::kCorrupt, "the index of the log does not end where the layers end")
          .with_object("timeline " + id_.to_string())
          .with_lsn(flushed.boundary);
    }
  }
  decoder_.reset(flushed.boundary,
                 flushed.previous.valid() ? std::optional<Lsn>(flushed.previous) : std::nullopt);
  open_ = std::make_shared<OpenLayer>(flushed.boundary + 1);
  running_ = true;
  if (world_.open_memory != nullptr) world_.open_memory->add(*this);
  scope_.spawn("flush layers", [this] { return flush_loop(); });
  scope_.spawn("compact layers", [this] { return compact_loop(); });
  return Status();
}

void Timeline::stop() {
  scope_.cancel();
  scope_.join().ignore("background work ends by being cancelled");
  if (running_ && world_.open_memory != nullptr) {
    world_.open_memory->remove(*this);
    uint64_t returned = 0;
    for (Frozen& frozen : frozen_) {
      returned += std::exchange(frozen.reserved, 0);
      frozen.reservations.reset();
    }
    reservations_.clear();
    open_reserved_ = 0;
    world_.open_memory->returned(returned);
  }
  running_ = false;
}

void Timeline::flush_and_stop() {
  const bool started = running_;
  stop();
  if (!started) return;
  const Shield finish;
  store_.give_up_at_errors();
  freeze();
  while (!frozen_.empty() && flush_oldest().ok()) {
  }
}

// From the end of the last record that took effect.
void Timeline::expect_log_again() {
  const LogPosition end = log_->position();
  decoder_.reset(end.boundary,
                 end.previous.valid() ? std::optional<Lsn>(end.previous) : std::nullopt);
}

Status Timeline::receive(Lsn at, std::span<const uint8_t> bytes) {
  VARVE_CHECK(running_);
  if (ingest_torn_) {
    VARVE_TRY(start_ingest(last_record()));
    ingest_torn_ = false;
  }
  decoder_.feed(at, bytes);
  wal::Record record;
  for (;;) {
    const wal::Step step = decoder_.next(record);
    switch (step) {
      case wal::Step::kRecord:
        log_failure_ = store_record(record);
        break;
      case wal::Step::kNeedMore:
        log_failure_ = Status();
        return Status();
      case wal::Step::kEndOfWal:
        log_failure_ = Status(Code::kCorrupt, "zeros where the log should continue")
                           .with_lsn(decoder_.boundary());
        break;
      case wal::Step::kCorrupt:
        log_failure_ = decoder_.status();
        break;
    }
    if (log_failure_.ok()) continue;
    expect_log_again();
    return log_failure_;
  }
}

Status Timeline::store_record(const wal::Record& record) {
  operations_.clear();
  if (Status status = ingest_->ingest(record, operations_); !status.ok()) {
    ingest_torn_ = true;
    return status;
  }
  {
    NoSuspend together;  // a reader sees all of a record or nothing
    for (const Operation& operation : operations_) {
      open_->put(operation.key, record.end, operation.value);
    }
    finished_chunks_.clear();
    log_->add(record.start, record.end, ingest_->transaction_time(), finished_chunks_);
    for (const LogChunkWriter::Finished& chunk : finished_chunks_) {
      open_->put(Key::log_chunk(chunk.number), record.end,
                 make_value(ValueKind::kImage, chunk.bytes));
    }
    last_record_.set(record.end);
  }
  VARVE_TRY(reserve_memory());
  if (open_->bytes() < options_.timeline.open_layer_bytes) return Status();
  freeze();
  while (frozen_.size() >= options_.timeline.max_frozen_layers) {
    VARVE_TRY(frozen_changed_.wait("frozen layers wait to be flushed"));
  }
  return Status();
}

// After the fact: one record's worth is what is taken before it is reserved.
Status Timeline::reserve_memory() {
  while (world_.open_memory != nullptr && open_->bytes() > open_reserved_) {
    VARVE_TRY_ASSIGN(Reservation more, world_.open_memory->reserve(kReservedAtOnce));
    // Meanwhile it may have been frozen, to make room.
    reservations_.push_back(std::move(more));
    open_reserved_ += kReservedAtOnce;
  }
  return Status();
}

// The chunk of the log that is being filled goes with the layer, so that a restart can go on with
// it.
void Timeline::freeze() {
  const LogPosition end = log_->position();
  if (open_->start() > end.boundary) return;
  open_->put(Key::log_chunk(log_->number()), end.boundary,
             make_value(ValueKind::kImage, log_->bytes()));
  open_->freeze(end.boundary + 1);
  if (world_.open_memory != nullptr) world_.open_memory->returning(open_reserved_);
  frozen_.push_back({std::move(open_), end,
                     std::make_shared<std::vector<Reservation>>(std::move(reservations_)),
                     std::exchange(open_reserved_, 0)});
  reservations_.clear();
  open_ = std::make_shared<OpenLayer>(end.boundary + 1);
  flush_wanted_.wake_all();
}

Status Timeline::wait_for(Lsn lsn, Instant deadline) {
  ++waiting_;
  const Status waited =
      last_record_.wait_until([lsn](Lsn last) { return last >= lsn; },
                              "the log is ingested up to the LSN asked for", deadline);
  --waiting_;
  return waited;
}

Status Timeline::admit_writer(Term term) {
  if (term < newest_writer_) {
    return Status(Code::kStale, "a compute of term " + newest_writer_.to_string() +
                                    " reads this timeline; the asker has term " + term.to_string())
        .with_object("timeline " + id_.to_string());
  }
  newest_writer_ = term;
  return Status();
}

Status Timeline::flush() {
  const Lsn end = last_record();
  freeze();
  while (flushed() < end) VARVE_TRY(frozen_changed_.wait("layers are flushed"));
  return Status();
}

}  // namespace varve::storage
