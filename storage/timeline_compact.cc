#include <algorithm>
#include <map>

#include "storage/format/layer_writer.h"
#include "storage/read/rebuild.h"
#include "storage/timeline.h"
#include "storage/value.h"

namespace varve::storage {
namespace {

constexpr Duration kFirstCompactionPause = Duration::millis(50);
constexpr Duration kLongestCompactionPause = Duration::seconds(10);

// A layer of a merge, in memory, cut at keys into files of about `target` bytes whose ranges are
// tight.
std::vector<LayerWriter::Finished> write_cut(const OpenLayer& merged, uint64_t target,
                                             const TenantId& tenant, const TimelineId& timeline,
                                             const LayerFormatOptions& format) {
  std::vector<LayerWriter::Finished> files;
  std::optional<LayerWriter> writer;
  Key first;
  const auto end_file = [&] {
    if (writer) files.push_back(writer->finish({first, writer->last_key()->successor()}));
    writer.reset();
  };
  for (const auto& [key, versions] : merged.values()) {
    if (writer && writer->size() >= target) end_file();
    if (!writer) {
      writer.emplace(LayerKind::kDelta, tenant, timeline, merged.lsn(), format);
      first = key;
    }
    for (const OpenLayer::Version& version : versions) {
      writer->add(key, version.lsn, version.bytes);
    }
  }
  end_file();
  return files;
}

}  // namespace

std::vector<LayerMap::Column> Timeline::columns(Lsn upto) const {
  std::vector<LayerMap::Column> columns = {{KeyRange::all(), std::nullopt}};
  if (ancestor_ != nullptr) columns = ancestor_->columns(std::min(upto, index_.start.boundary));
  for (const LayerMap::Column& own : map_.columns(upto)) {
    if (own.image) overlay(columns, own);
  }
  return columns;
}

Status Timeline::compact_loop() {
  Duration pause = kFirstCompactionPause;
  for (;;) {
    const Result<bool> worked = compact_once();
    if (worked.is(Code::kCancelled)) return worked.status();
    compaction_failure_ = worked.status();
    if (worked.ok()) {
      pause = kFirstCompactionPause;
      if (!*worked) VARVE_TRY(compaction_wanted_.wait("nothing to compact"));
      continue;
    }
    // A layer can't be read now, or never. Flushing may wait for what this does, so it is tried
    // again by itself; and goes on without it when trying again can't help.
    level0_changed_.wake_all();
    VARVE_TRY(sleep_for(pause));
    pause = std::min(pause * 2, kLongestCompactionPause);
  }
}

Result<bool> Timeline::compact_once() {
  if (const auto job = plan_level0(map_, options_.compaction)) {
    VARVE_TRY(compact_level0(*job));
    return true;
  }
  std::vector<LayerMap::Column> base = {{KeyRange::all(), std::nullopt}};
  if (ancestor_ != nullptr) base = ancestor_->columns(index_.start.boundary);
  if (const auto job = plan_image(map_, std::move(base), options_.compaction)) {
    VARVE_TRY(make_images(*job));
    return true;
  }
  return false;
}

Status Timeline::compact_level0(const Level0Job& job) {
  OpenLayer merged(job.lsn.start);
  for (const LayerRef& input : job.inputs) {
    VARVE_TRY_ASSIGN(const std::shared_ptr<const LayerReader> reader, store_.open(input));
    LayerReader::Iterator values = reader->iterate(KeyRange::all());
    for (uint32_t count = 1;; ++count) {
      const Result<bool> more = values.next();
      if (!more.ok()) {
        if (more.is(Code::kCorrupt)) store_.distrust(input, reader);
        return more.status();
      }
      if (!*more) break;
      merged.put(values.value().key, values.value().lsn, values.value().bytes);
      if (count % 1024 == 0) VARVE_TRY(yield());
    }
  }
  merged.freeze(job.lsn.end);
  std::vector<LayerWriter::Finished> files = offload(
      world_.offload,
      [&merged, target = options_.compaction.target_layer_bytes, tenant = tenant_.tenant, id = id_,
       format = options_.format] { return write_cut(merged, target, tenant, id, format); });
  std::vector<LayerRef> added;
  for (LayerWriter::Finished& file : files) {
    added.push_back(name_layer(std::move(file.descriptor)));
    VARVE_TRY(store_.add(added.back(), file.content));
  }
  return publish(added, job.inputs, std::nullopt, [] {});
}

// Every key of the job's range that exists at its LSN, in order.
Status Timeline::add_live_keys(const ImageJob& job, std::vector<Key>& keys) {
  const auto add = [&](const Key& key) {
    if (job.keys.contains(key)) keys.push_back(key);
  };
  const auto overlap = [&](const KeyRange& range) {
    return KeyRange{std::max(range.start, job.keys.start), std::min(range.end, job.keys.end)};
  };
  VARVE_TRY_ASSIGN(const std::vector<Item> sizes,
                   metadata_range(KeyRange::of_kind(KeyKind::kRelationSize), job.lsn));
  for (const Item& item : sizes) {
    VARVE_TRY_ASSIGN(const RelationSize size, RelationSize::decode(item.payload));
    if (!size.quarantine.empty() || size.blocks == 0) continue;
    const Key& k = item.key;
    const auto block = [&](uint32_t number) {
      return Key::make(KeyKind::kBlock, k.a(), k.b(), k.c(), k.d(), number);
    };
    if (overlap({block(0), block(UINT32_MAX)}).empty()) continue;
    for (uint32_t number = 0; number < size.blocks; ++number) add(block(number));
  }
  VARVE_TRY_ASSIGN(const std::vector<Item> segments,
                   metadata_range(KeyRange::of_kind(KeyKind::kSlruSegment), job.lsn));
  for (const Item& item : segments) {
    VARVE_TRY_ASSIGN(const uint32_t pages, decode_u32(item.payload));
    for (uint32_t page = 0; page < pages; ++page) {
      add(Key::make(KeyKind::kSlruBlock, item.key.a(),
                    item.key.b() * wal::kSlruPagesPerSegment + page));
    }
  }
  return Status();
}

Status Timeline::make_images(const ImageJob& job) {
  std::vector<LayerRef> added;
  std::optional<LayerWriter> writer;
  Key start = job.keys.start;  // of the file being written: files abut, so that they tile the range
  const auto end_file = [&](const Key& end) -> Status {
    LayerWriter::Finished file = writer->finish({start, end});
    start = end;
    writer.reset();
    added.push_back(name_layer(std::move(file.descriptor)));
    return store_.add(added.back(), file.content);
  };
  const LsnRange lsn{job.lsn, job.lsn + 1};
  const auto add = [&](const Key& key, std::span<const uint8_t> value) -> Status {
    if (writer && writer->size() >= options_.compaction.target_layer_bytes) {
      VARVE_TRY(end_file(key));
    }
    if (!writer) writer.emplace(LayerKind::kImage, tenant_.tenant, id_, lsn, options_.format);
    writer->add(key, job.lsn, value);
    return Status();
  };

  std::vector<Key> keys;
  VARVE_TRY(add_live_keys(job, keys));
  for (const Key& key : keys) {
    const bool is_block = key.kind() == KeyKind::kBlock;
    Result<Bytes> page = is_block ? Result<Bytes>(Status(Code::kInternal, "unset"))
                                  : get_slru_page(key.to_slru_page(), job.lsn);
    if (is_block) {
      Result<PageAnswer> answer = get_page(key.to_block(), job.lsn);
      page = answer.ok() ? Result<Bytes>(std::move(answer->page)) : Result<Bytes>(answer.status());
    }
    if (page.ok()) {
      const bool zero = std::ranges::all_of(page->span(), [](uint8_t b) { return b == 0; });
      VARVE_TRY(
          add(key, zero ? make_value(ValueKind::kZeroPage) : make_value(ValueKind::kImage, *page)));
    } else if (page.is(Code::kCorrupt) || page.is(Code::kUnsupported) || page.is(Code::kNotFound)) {
      // Nothing is lost: reads go on below the image, and answer what they did before.
      VARVE_TRY(add(key, make_value(ValueKind::kBelow)));
    } else {
      return page.status();
    }
    VARVE_TRY(yield());
  }
  const KeyRange sparse{std::max(job.keys.start, Key::make(kFirstSparseKind)), job.keys.end};
  if (!sparse.empty()) {
    VARVE_TRY_ASSIGN(const std::vector<Item> items, metadata_range(sparse, job.lsn));
    for (const Item& item : items) {
      VARVE_TRY(add(item.key, make_value(ValueKind::kImage, item.payload)));
    }
  }
  if (!writer) writer.emplace(LayerKind::kImage, tenant_.tenant, id_, lsn, options_.format);
  VARVE_TRY(end_file(job.keys.end));
  return publish(added, {}, std::nullopt, [] {});
}

}  // namespace varve::storage
