#include "storage/ingest/ingest.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "wal/record_names.h"
#include "wal/redo/visibility.h"
#include "wal/visibility.h"

namespace varve::storage {

Ingest::Ingest(const wal::Version& version, const wal::CheckpointState& state, bool data_checksums,
               MetadataSource& source, const IngestOptions& options)
    : version_(version),
      state_(state),
      data_checksums_(data_checksums),
      sizes_(source, options.cached_sizes),
      options_(options) {}

void Ingest::put(const Key& key, ValueKind kind, std::span<const uint8_t> payload) {
  out_->push_back({key, make_value(kind, payload)});
}

void Ingest::poison(const Key& key, const std::string& why) {
  put(key, ValueKind::kPoison, as_bytes(why));
  quarantine(key.to_string() + " is unreadable: " + why);
}

void Ingest::quarantine(const std::string& what) {
  if (!quarantine_.empty()) quarantine_ += "; ";
  quarantine_ += what;
}

void Ingest::put_quarantine(const wal::Record& record) {
  if (quarantine_.empty()) return;
  ++quarantined_;
  const std::string text = std::string(wal::rmgr_name(record.rmid)) + " record at " +
                           record.start.to_string() + ": " + quarantine_;
  put_image(Key::quarantine(record.end), as_bytes(text));
}

Status Ingest::close_forks(const KeyRange& sizes, std::optional<uint32_t> relation,
                           const std::string& why) {
  VARVE_TRY_ASSIGN(const std::vector<MetadataSource::Item> items,
                   sizes_.source().current_range(sizes));
  for (const MetadataSource::Item& item : items) {
    if (relation && item.key.c() != *relation) continue;
    VARVE_TRY_ASSIGN(RelationSize size, RelationSize::decode(item.payload));
    if (!size.quarantine.empty()) continue;
    size.quarantine = why;
    touched_[item.key] = std::move(size);
  }
  return Status();
}

// The first fields of these records have stood in the same place in every version.
Status Ingest::close_subject(const wal::Record& record, const std::string& why) {
  quarantine(why);
  const std::string reason = "by the record that ends at " + end_.to_string() + ": " + why;
  Reader in(record.main_data);
  if (record.is(wal::Rmgr::kTransaction) && record.xid != 0) {
    const wal::SlruPage page = wal::slru_page_of(wal::Slru::kClog, record.xid);
    bool is_new = false;
    VARVE_TRY(enter_slru_page(page, is_new));
    poison(Key::slru_block(page), why);
  } else if (record.is(wal::Rmgr::kStorage)) {
    if (record.operation() == 0x20) in.skip(4);  // a truncation begins with the length
    const auto tablespace = in.le<uint32_t>();
    const auto database = in.le<uint32_t>();
    const auto relation = in.le<uint32_t>();
    if (!in.ok()) return Status();
    return close_forks(KeyRange::of_kind(KeyKind::kRelationSize, tablespace, database), relation,
                       reason);
  } else if (record.is(wal::Rmgr::kDatabase) || record.is(wal::Rmgr::kRelationMap)) {
    const auto database = in.le<uint32_t>();
    if (!in.ok()) return Status();
    const uint32_t tablespace = database == 0 ? kGlobalTablespace : kDefaultTablespace;
    return close_forks(KeyRange::of_kind(KeyKind::kRelationSize, tablespace, database),
                       std::nullopt, reason);
  }
  return Status();
}

Status Ingest::ingest(const wal::Record& record, std::vector<Operation>& out) {
  end_ = record.end;
  out_ = &out;
  touched_.clear();
  touched_segments_.clear();
  transaction_time_.reset();
  quarantine_.clear();

  wal::Effect effect;
  const Status parsed = wal::parse_effect(version_, record, effect);
  if (!parsed.ok()) VARVE_TRY(close_subject(record, parsed.message()));
  // Before the blocks: a relation is created, or cut, before the record's own blocks enter it.
  if (parsed.ok()) VARVE_TRY(ingest_effect(record, effect));
  for (const wal::BlockReference& block : record.blocks) VARVE_TRY(ingest_block(record, block));
  if (parsed.ok()) VARVE_TRY(ingest_map_deltas(effect));

  const wal::CheckpointState before = state_;
  state_.apply(record, parsed.ok() ? effect : wal::Effect(wal::NoEffect{}));
  if (!(state_ == before)) put_image(Key::make(KeyKind::kCheckpointState), state_.encode(version_));

  for (auto& [key, size] : touched_) {
    if (size) {
      put_image(key, size->encode());
    } else {
      put(key, ValueKind::kTombstone);
    }
    sizes_.set(key, end_, std::move(size));
  }
  for (const auto& [key, pages] : touched_segments_) {
    if (pages == 0) {
      put(key, ValueKind::kTombstone);
    } else {
      put_image(key, encode_u32(pages));
    }
    segments_[key] = pages;
  }
  put_quarantine(record);
  return Status();
}

// --- relations ----------------------------------------------------------------------------------

Result<std::optional<RelationSize>> Ingest::size_of(const Key& size_key) {
  if (const auto touched = touched_.find(size_key); touched != touched_.end())
    return touched->second;
  VARVE_TRY_ASSIGN(RelationSizes::Entry entry, sizes_.get(size_key));
  return std::move(entry.size);
}

Result<std::optional<bool>> Ingest::enter_block(const wal::BlockId& id) {
  const Key size_key = Key::relation_size(id.relation, id.fork);
  VARVE_TRY_ASSIGN(std::optional<RelationSize> size, size_of(size_key));
  if (!size) {
    // Forks other than the main one come into being by use.
    size.emplace();
    size->created = end_;
  }
  if (!size->quarantine.empty()) return std::optional<bool>();
  if (id.block < size->blocks) return std::optional<bool>(false);
  if (id.block - size->blocks > options_.max_gap_blocks || id.block == UINT32_MAX) {
    size->quarantine = "the record that ends at " + end_.to_string() + " extends it from " +
                       std::to_string(size->blocks) + " to block " + std::to_string(id.block);
    quarantine(size_key.to_string() + " is closed: " + size->quarantine);
    touched_[size_key] = std::move(size);
    return std::optional<bool>();
  }
  for (uint32_t gap = size->blocks; gap < id.block; ++gap) {
    put(Key::block({id.relation, id.fork, gap}), ValueKind::kZeroPage);
  }
  size->blocks = id.block + 1;
  touched_[size_key] = std::move(size);
  return std::optional<bool>(true);
}

Status Ingest::ingest_block(const wal::Record& record, const wal::BlockReference& block) {
  // The free space map is a hint that is mostly not logged; serving parts of it would be worse than
  // none.
  if (block.block.fork == wal::Fork::kFreeSpace) return Status();
  const wal::redo::ClusterFacts facts{data_checksums_ || state_.parameters().wal_log_hints};
  const Result<std::optional<std::vector<uint8_t>>> delta = wal::redo::split(record, block, facts);
  if (delta.ok() && !delta->has_value()) return Status();
  VARVE_TRY_ASSIGN(const std::optional<bool> entered, enter_block(block.block));
  if (!entered) return Status();
  const Key key = Key::block(block.block);
  if (!delta.ok()) {
    poison(key, delta.status().to_string());
    return Status();
  }
  put(key, *entered ? ValueKind::kDeltaOnZeros : ValueKind::kDelta, **delta);
  return Status();
}

Status Ingest::ingest_map_deltas(const wal::Effect& effect) {
  std::vector<wal::redo::MapDelta> deltas;
  wal::redo::append_map_deltas(effect, deltas);
  for (const wal::redo::MapDelta& delta : deltas) {
    VARVE_TRY_ASSIGN(const std::optional<RelationSize> size,
                     size_of(Key::relation_size(delta.page.relation, wal::Fork::kVisibility)));
    // A map page that does not exist has no bits to clear.
    if (!size || delta.page.block >= size->blocks || !size->quarantine.empty()) continue;
    put(Key::block(delta.page), ValueKind::kDelta, wal::redo::encode(delta.change));
  }
  return Status();
}

Status Ingest::drop_relation(const wal::RelationId& relation) {
  for (const wal::Fork fork : {wal::Fork::kMain, wal::Fork::kVisibility, wal::Fork::kInit}) {
    const Key key = Key::relation_size(relation, fork);
    VARVE_TRY_ASSIGN(const std::optional<RelationSize> size, size_of(key));
    if (size) touched_[key] = std::nullopt;
  }
  return Status();
}

Status Ingest::truncate_relation(const wal::RelationTruncate& truncate) {
  const auto cut = [&](wal::Fork fork, uint32_t blocks) -> Status {
    const Key key = Key::relation_size(truncate.relation, fork);
    VARVE_TRY_ASSIGN(std::optional<RelationSize> size, size_of(key));
    if (!size || size->blocks <= blocks) return Status();
    size->blocks = blocks;
    // What was cut off must not be found at its source again after an extension; extension starts
    // chains, so that this is only tidiness.
    if (size->source) size->source->copied_blocks = std::min(size->source->copied_blocks, blocks);
    touched_[key] = std::move(size);
    return Status();
  };
  if (truncate.main) VARVE_TRY(cut(wal::Fork::kMain, truncate.blocks));
  if (truncate.visibility) {
    VARVE_TRY(cut(wal::Fork::kVisibility, wal::visibility_pages(truncate.blocks)));
  }
  return Status();
}

// --- databases ----------------------------------------------------------------------------------

Status Ingest::drop_sizes(uint32_t tablespace, uint32_t database) {
  const KeyRange range = KeyRange::of_kind(KeyKind::kRelationSize, tablespace, database);
  VARVE_TRY_ASSIGN(const std::vector<MetadataSource::Item> items,
                   sizes_.source().current_range(range));
  for (const MetadataSource::Item& item : items) touched_[item.key] = std::nullopt;
  return Status();
}

Status Ingest::drop_database(const wal::DatabaseDrop& drop) {
  for (size_t i = 0; i < drop.tablespaces.size(); ++i) {
    const uint32_t tablespace = drop.tablespaces[i];
    VARVE_TRY(drop_sizes(tablespace, drop.database));
    put(Key::relation_map(tablespace, drop.database), ValueKind::kTombstone);
    put(Key::database(tablespace, drop.database), ValueKind::kTombstone);
  }
  return Status();
}

// By reference: the copy's forks name their source and this LSN, and a block without a version of
// its own is read there. Costs one value for each fork whatever the database holds.
Status Ingest::copy_database(const wal::DatabaseCopy& copy) {
  VARVE_TRY(drop_sizes(copy.tablespace, copy.database));
  const KeyRange range =
      KeyRange::of_kind(KeyKind::kRelationSize, copy.source_tablespace, copy.source_database);
  VARVE_TRY_ASSIGN(const std::vector<MetadataSource::Item> items,
                   sizes_.source().current_range(range));
  for (const MetadataSource::Item& item : items) {
    VARVE_TRY_ASSIGN(const RelationSize from, RelationSize::decode(item.payload));
    RelationSize size;
    size.created = end_;
    size.blocks = from.blocks;
    size.source = {copy.source_tablespace, copy.source_database, end_, from.blocks};
    size.quarantine = from.quarantine;
    const wal::RelationId relation{copy.tablespace, copy.database, item.key.c()};
    touched_[Key::relation_size(relation, static_cast<wal::Fork>(item.key.d()))] = size;
  }
  VARVE_TRY_ASSIGN(
      const std::optional<MetadataSource::Item> map,
      sizes_.source().current(Key::relation_map(copy.source_tablespace, copy.source_database)));
  if (map) put_image(Key::relation_map(copy.tablespace, copy.database), map->payload);
  put_image(Key::database(copy.tablespace, copy.database), encode_u64(end_.value));
  return Status();
}

// --- transactions and status files --------------------------------------------------------------

Status Ingest::end_transaction(const wal::TransactionEnd& end) {
  transaction_time_ = WallTime{end.time};
  for (size_t i = 0; i < end.dropped.size(); ++i) VARVE_TRY(drop_relation(end.dropped[i]));
  if (end.prepared) put(Key::two_phase(state_.widen(end.xid)), ValueKind::kTombstone);
  if (end.origin != 0 && end.progress) {
    put_image(Key::make(KeyKind::kReplicationOrigin, end.origin),
              encode_u64(end.progress->remote_lsn.value));
  }
  return Status();
}

Status Ingest::enter_slru_page(wal::SlruPage page, bool& is_new) {
  const uint32_t within = page.page % wal::kSlruPagesPerSegment;
  const Key key = Key::slru_segment(page.slru, page.page / wal::kSlruPagesPerSegment);
  uint32_t pages = 0;
  if (const auto touched = touched_segments_.find(key); touched != touched_segments_.end()) {
    pages = touched->second;
  } else if (const auto known = segments_.find(key); known != segments_.end()) {
    pages = known->second;
  } else {
    VARVE_TRY_ASSIGN(const std::optional<MetadataSource::Item> item, sizes_.source().current(key));
    if (item) {
      VARVE_TRY_ASSIGN(pages, decode_u32(item->payload));
    }
    segments_[key] = pages;
  }
  is_new = within >= pages;
  if (!is_new) return Status();
  const uint32_t first = page.page - within;
  for (uint32_t gap = pages; gap < within; ++gap) {
    put(Key::slru_block({page.slru, first + gap}), ValueKind::kZeroPage);
  }
  touched_segments_[key] = within + 1;
  return Status();
}

Status Ingest::ingest_slru(const wal::Effect& effect) {
  slru_deltas_.clear();
  wal::split_slru_effect(effect, state_.parameters().track_commit_timestamp, slru_deltas_);
  for (const wal::SlruDelta& delta : slru_deltas_) {
    bool is_new = false;
    VARVE_TRY(enter_slru_page(delta.page, is_new));
    put(Key::slru_block(delta.page), is_new ? ValueKind::kSlruDeltaOnZeros : ValueKind::kSlruDelta,
        delta.bytes);
  }
  return Status();
}

Status Ingest::truncate_slru(const wal::Effect& effect, wal::Slru slru) {
  const KeyRange range = KeyRange::of_kind(KeyKind::kSlruSegment, static_cast<uint32_t>(slru));
  VARVE_TRY_ASSIGN(const std::vector<MetadataSource::Item> items,
                   sizes_.source().current_range(range));
  for (const MetadataSource::Item& item : items) {
    const wal::SlruPage first{slru, item.key.b() * wal::kSlruPagesPerSegment};
    if (wal::slru_segment_is_removed(effect, first)) touched_segments_[item.key] = 0;
  }
  return Status();
}

// --- dispatch -----------------------------------------------------------------------------------

Status Ingest::ingest_effect(const wal::Record& record, const wal::Effect& effect) {
  VARVE_TRY(ingest_slru(effect));
  if (const auto* end = std::get_if<wal::TransactionEnd>(&effect)) return end_transaction(*end);
  if (const auto* prepare = std::get_if<wal::TransactionPrepare>(&effect)) {
    put_image(Key::two_phase(state_.widen(prepare->xid)), prepare->state);
  } else if (const auto* create = std::get_if<wal::RelationCreate>(&effect)) {
    if (create->fork == wal::Fork::kFreeSpace) return Status();
    RelationSize size;
    size.created = end_;
    touched_[Key::relation_size(create->relation, create->fork)] = size;
  } else if (const auto* truncate = std::get_if<wal::RelationTruncate>(&effect)) {
    return truncate_relation(*truncate);
  } else if (const auto* copy = std::get_if<wal::DatabaseCopy>(&effect)) {
    return copy_database(*copy);
  } else if (const auto* database = std::get_if<wal::DatabaseCreate>(&effect)) {
    put_image(Key::database(database->tablespace, database->database), encode_u64(end_.value));
  } else if (const auto* drop = std::get_if<wal::DatabaseDrop>(&effect)) {
    return drop_database(*drop);
  } else if (const auto* map = std::get_if<wal::RelationMapUpdate>(&effect)) {
    put_image(Key::relation_map(map->tablespace, map->database), map->map);
  } else if (const auto* tablespace = std::get_if<wal::TablespaceCreate>(&effect)) {
    put_image(Key::make(KeyKind::kTablespace, tablespace->tablespace), as_bytes(tablespace->path));
  } else if (const auto* gone = std::get_if<wal::TablespaceDrop>(&effect)) {
    put(Key::make(KeyKind::kTablespace, gone->tablespace), ValueKind::kTombstone);
  } else if (const auto* set = std::get_if<wal::ReplicationOriginSet>(&effect)) {
    put_image(Key::make(KeyKind::kReplicationOrigin, set->origin),
              encode_u64(set->remote_lsn.value));
  } else if (const auto* lost = std::get_if<wal::ReplicationOriginDrop>(&effect)) {
    put(Key::make(KeyKind::kReplicationOrigin, lost->origin), ValueKind::kTombstone);
  } else if (std::holds_alternative<wal::ClogTruncate>(effect)) {
    return truncate_slru(effect, wal::Slru::kClog);
  } else if (std::holds_alternative<wal::CommitTimestampTruncate>(effect)) {
    return truncate_slru(effect, wal::Slru::kCommitTimestamp);
  } else if (std::holds_alternative<wal::MultiXactTruncate>(effect)) {
    VARVE_TRY(truncate_slru(effect, wal::Slru::kMultiXactOffset));
    return truncate_slru(effect, wal::Slru::kMultiXactMember);
  } else {
    // Nothing stored: counters only (CheckpointState), or map bits (ingest_map_deltas).
    (void)record;
  }
  return Status();
}

}  // namespace varve::storage
