#include <algorithm>

#include "base/check.h"
#include "storage/read/rebuild.h"
#include "storage/timeline.h"
#include "storage/value.h"

namespace varve::storage {
namespace {

// Copies of copies of databases; more than this is a loop in damaged metadata.
constexpr int kMaxCopyDepth = 64;
// Values of a scan between two turns of others: well below a millisecond.
constexpr uint32_t kScannedAtOnce = 512;
// Pages of one request that are read at a time.
constexpr size_t kReadFibers = 8;
// Local copies of one layer that one read may find damaged, each fetched after the one before.
constexpr int kMostCopies = 5;

Status unknown_fork(const wal::BlockId& id, Lsn lsn) {
  return Status(Code::kNotFound, "no such relation fork")
      .with_object(Key::relation_size(id.relation, id.fork).to_string())
      .with_lsn(lsn);
}

Bytes zero_page() {
  return MutableBytes::zeroed(kBlockSize).freeze();
}

void note_newest(std::map<Key, StoredValue>& newest, StoredValue value) {
  const auto [at, added] = newest.try_emplace(value.key, value);
  if (!added && at->second.lsn < value.lsn) at->second = std::move(value);
}

}  // namespace

Timeline::Snapshot Timeline::memory() const {
  Snapshot snapshot;
  if (open_ != nullptr) snapshot.memory.push_back(open_);
  for (size_t i = frozen_.size(); i-- > 0;) snapshot.memory.push_back(frozen_[i].layer);
  return snapshot;
}

Result<bool> Timeline::find_in_layer(const LayerRef& layer, const Key& key, LsnRange range,
                                     std::vector<StoredValue>& chain) {
  const size_t before = chain.size();
  for (int attempt = 1;; ++attempt) {
    VARVE_TRY_ASSIGN(const std::shared_ptr<const LayerReader> reader, store_.open(layer));
    ++layers_visited_;
    Result<bool> started = reader->find_chain(key, range, chain);
    if (started.ok()) return started;
    chain.resize(before);
    if (!started.is(Code::kCorrupt) || attempt == kMostCopies) return started;
    if (!store_.distrust(layer, reader)) return started;
  }
}

Result<bool> Timeline::collect(const Key& key, Lsn floor, Lsn upto,
                               std::vector<StoredValue>& chain) {
  ++chains_read_;
  Lsn image_before = Lsn::max();
  for (Timeline* timeline = this; floor <= upto;) {
    // Without a wait in between: what moves from memory to layers is in exactly one of them.
    Snapshot snapshot = timeline->memory();
    const LayerMap::Visit visit = timeline->map_.visit(key, upto, image_before);
    const LsnRange range{std::max(floor, visit.lsn.start), upto + 1};
    for (const auto& layer : snapshot.memory) {
      if (layer->find_chain(key, range, chain)) return true;
    }
    for (const LayerRef& layer : visit.deltas) {
      VARVE_TRY_ASSIGN(const bool started, timeline->find_in_layer(layer, key, range, chain));
      if (started) return true;
    }
    if (visit.image != nullptr) {
      if (visit.image->lsn.start < floor) return false;
      VARVE_TRY_ASSIGN(const bool found,
                       timeline->find_in_layer(visit.image, key, visit.image->lsn, chain));
      if (found || chain.empty() || chain.back().lsn != visit.image->lsn.start) return found;
      const Result<ValueView> value = parse_value(chain.back().bytes);
      if (!value.ok() || value->kind != ValueKind::kBelow) return false;
      chain.pop_back();
      upto = std::min(upto, visit.image->lsn.start);
      image_before = visit.image->lsn.start;
      continue;
    }
    if (timeline->ancestor_ == nullptr) return false;
    upto = std::min(upto, timeline->index_.start.boundary);
    image_before = Lsn::max();
    timeline = timeline->ancestor_;
  }
  return false;
}

// --- metadata -----------------------------------------------------------------------------------

Result<std::optional<MetadataSource::Item>> Timeline::metadata(const Key& key, Lsn lsn) {
  VARVE_CHECK(key.is_sparse());
  std::vector<StoredValue> chain;
  VARVE_TRY_ASSIGN(const bool started, collect(key, Lsn(0), lsn, chain));
  if (!started) return std::optional<Item>();
  VARVE_TRY_ASSIGN(const ValueView value, parse_value(chain.back().bytes));
  if (value.kind == ValueKind::kTombstone) return std::optional<Item>();
  if (value.kind != ValueKind::kImage || chain.size() != 1) {
    return Status(Code::kCorrupt, "metadata is stored as it can't be").with_object(key.to_string());
  }
  return std::optional<Item>(Item{key, chain[0].lsn, chain[0].bytes.slice(1)});
}

Status Timeline::scan_layer(const LayerRef& layer, const KeyRange& keys, Lsn upto,
                            std::map<Key, StoredValue>& newest) {
  for (int attempt = 1;; ++attempt) {
    VARVE_TRY_ASSIGN(const std::shared_ptr<const LayerReader> reader, store_.open(layer));
    ++layers_visited_;
    LayerReader::Iterator values = reader->iterate(keys);
    Result<bool> more = values.next();
    for (uint32_t count = 1; more.ok() && *more; more = values.next(), ++count) {
      if (values.value().lsn <= upto) note_newest(newest, values.value());
      // A database of very many tables is no reason for others to wait.
      if (count % kScannedAtOnce == 0) VARVE_TRY(yield());
    }
    if (more.ok()) return Status();
    if (!more.is(Code::kCorrupt) || attempt == kMostCopies) return more.status();
    if (!store_.distrust(layer, reader)) return more.status();
  }
}

Result<std::vector<MetadataSource::Item>> Timeline::metadata_range(const KeyRange& keys, Lsn lsn) {
  VARVE_CHECK(keys.start.is_sparse());
  std::map<Key, StoredValue> newest;
  Lsn upto = lsn;
  for (Timeline* timeline = this; timeline != nullptr;) {
    const LayerMap::Scan scan = timeline->map_.scan(keys, upto);
    for (const auto& layer : timeline->memory().memory) {
      for (auto at = layer->values().lower_bound(keys.start);
           at != layer->values().end() && at->first < keys.end; ++at) {
        const OpenLayer::Versions& versions = at->second;
        const auto after = std::ranges::upper_bound(versions, upto, {}, &OpenLayer::Version::lsn);
        if (after == versions.begin()) continue;
        const OpenLayer::Version& version = *std::prev(after);
        note_newest(newest, {at->first, version.lsn, Bytes::copy(version.bytes)});
      }
    }
    for (const LayerRef& layer : scan.deltas) {
      VARVE_TRY(timeline->scan_layer(layer, keys, upto, newest));
    }
    for (const LayerRef& layer : scan.images) {
      VARVE_TRY(timeline->scan_layer(layer, keys, upto, newest));
    }
    if (scan.covered) break;
    upto = std::min(upto, timeline->index_.start.boundary);
    timeline = timeline->ancestor_;
  }
  std::vector<Item> items;
  for (auto& [key, stored] : newest) {
    VARVE_TRY_ASSIGN(const ValueView value, parse_value(stored.bytes));
    if (value.kind == ValueKind::kImage) items.push_back({key, stored.lsn, stored.bytes.slice(1)});
  }
  return items;
}

Result<std::vector<Timeline::QuarantineNote>> Timeline::quarantine() {
  VARVE_TRY_ASSIGN(const std::vector<Item> items,
                   metadata_range(KeyRange::of_kind(KeyKind::kQuarantine), last_record()));
  std::vector<QuarantineNote> notes;
  for (const Item& item : items) {
    notes.push_back({Lsn(item.key.wide_number()), std::string(item.payload.view())});
  }
  return notes;
}

// Ingest can't go on without the answer, and an object store that is away comes back.
template <class Read>
auto read_until_answered(const Read& read) -> decltype(read()) {
  Duration pause = Duration::millis(50);
  for (;;) {
    auto answer = read();
    VARVE_TRY(check_cancelled());
    if (answer.ok() || !policy_of(answer.code()).retryable) return answer;
    VARVE_TRY(sleep_for(pause));
    pause = std::min(pause * 2, Duration::seconds(1));
  }
}

Result<std::optional<MetadataSource::Item>> Timeline::current(const Key& key) {
  return read_until_answered([&] { return metadata(key, last_record()); });
}

Result<std::vector<MetadataSource::Item>> Timeline::current_range(const KeyRange& keys) {
  return read_until_answered([&] { return metadata_range(keys, last_record()); });
}

Result<std::optional<RelationSize>> Timeline::relation_size(const wal::RelationId& relation,
                                                            wal::Fork fork, Lsn lsn) {
  const Key key = Key::relation_size(relation, fork);
  if (ingest_) {
    const RelationSizes::Entry* entry = ingest_->sizes().find(key);
    if (entry != nullptr && entry->since <= lsn) return entry->size;
  }
  VARVE_TRY_ASSIGN(const std::optional<Item> item, metadata(key, lsn));
  if (!item) return std::optional<RelationSize>();
  VARVE_TRY_ASSIGN(RelationSize size, RelationSize::decode(item->payload));
  return std::optional<RelationSize>(std::move(size));
}

// --- pages --------------------------------------------------------------------------------------

Result<PageAnswer> Timeline::get_page(const wal::BlockId& id, Lsn lsn) {
  return get_page_at_depth(id, lsn, 0);
}

Result<PageAnswer> Timeline::get_page_at_depth(const wal::BlockId& id, Lsn lsn, int depth) {
  if (depth > kMaxCopyDepth) {
    return Status(Code::kCorrupt, "a copied database refers to itself")
        .with_object(Key::block(id).to_string());
  }
  VARVE_TRY_ASSIGN(const std::optional<RelationSize> size,
                   relation_size(id.relation, id.fork, lsn));
  if (!size) return unknown_fork(id, lsn);
  if (!size->quarantine.empty()) {
    return Status(Code::kCorrupt, "the fork is quarantined: " + size->quarantine)
        .with_object(Key::relation_size(id.relation, id.fork).to_string())
        .with_lsn(lsn);
  }
  if (id.block >= size->blocks) return PageAnswer{zero_page(), true};
  return read_block(id, *size, lsn, depth);
}

Result<PageAnswer> Timeline::read_block(const wal::BlockId& id, const RelationSize& size, Lsn lsn,
                                        int depth) {
  const Key key = Key::block(id);
  std::vector<StoredValue> chain;
  // Below a copy's creation the same key may have been another database's.
  const Lsn floor = size.source ? size.created : Lsn(0);
  VARVE_TRY_ASSIGN(const bool started, collect(key, floor, lsn, chain));
  MutableBytes page(kBlockSize);
  bool has_base = false;
  if (!started && size.source && id.block < size.source->copied_blocks) {
    wal::BlockId source = id;
    source.relation.tablespace = size.source->tablespace;
    source.relation.database = size.source->database;
    VARVE_TRY_ASSIGN(const PageAnswer base, get_page_at_depth(source, size.source->lsn, depth + 1));
    std::ranges::copy(base.page.span(), page.data());
    has_base = true;
  }
  VARVE_TRY(
      rebuild_page(key, chain, has_base, std::span<uint8_t, kBlockSize>(page.data(), kBlockSize)));
  return PageAnswer{std::move(page).freeze(), false};
}

std::vector<Result<PageAnswer>> Timeline::get_pages(std::span<const wal::BlockId> ids, Lsn lsn) {
  std::vector<Result<PageAnswer>> answers(ids.size(),
                                          Result<PageAnswer>(Status(Code::kCancelled, "not read")));
  // Neighbours go to one fiber: they share blocks of layers.
  const size_t fibers = std::clamp<size_t>(ids.size() / 4, 1, kReadFibers);
  const auto read_part = [&](size_t part) {
    const size_t end = ids.size() * (part + 1) / fibers;
    for (size_t i = ids.size() * part / fibers; i < end; ++i) answers[i] = get_page(ids[i], lsn);
  };
  if (fibers == 1) {
    read_part(0);
    return answers;
  }
  Scope scope("read pages");
  for (size_t part = 0; part < fibers; ++part) {
    scope.spawn("read pages", [&read_part, part] { read_part(part); });
  }
  scope.join().ignore("each answer has its own status");
  return answers;
}

Result<Bytes> Timeline::get_slru_page(wal::SlruPage page, Lsn lsn) {
  const Key segment = Key::slru_segment(page.slru, page.page / wal::kSlruPagesPerSegment);
  VARVE_TRY_ASSIGN(const std::optional<Item> item, metadata(segment, lsn));
  uint32_t pages = 0;
  if (item) {
    VARVE_TRY_ASSIGN(pages, decode_u32(item->payload));
  }
  if (page.page % wal::kSlruPagesPerSegment >= pages) {
    return Status(Code::kNotFound, "no such page of a status file")
        .with_object(Key::slru_block(page).to_string())
        .with_lsn(lsn);
  }
  const Key key = Key::slru_block(page);
  std::vector<StoredValue> chain;
  VARVE_TRY(collect(key, Lsn(0), lsn, chain).status());
  MutableBytes bytes(kBlockSize);
  VARVE_TRY(
      rebuild_page(key, chain, false, std::span<uint8_t, kBlockSize>(bytes.data(), kBlockSize)));
  return std::move(bytes).freeze();
}

}  // namespace varve::storage
