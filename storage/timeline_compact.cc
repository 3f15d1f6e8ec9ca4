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

// Blocks compressed in one go off the reactor: some milliseconds.
constexpr uint64_t kCompressedAtOnce = 1 << 20;
// Values moved before others get their turn: well below a millisecond.
constexpr uint32_t kValuesAtOnce = 256;
// An image is made in turns of this, with as long a rest behind each.
constexpr Duration kImageTurn = Duration::millis(2);

// Layers whose values are taken in order of (key, LSN). LSN ranges of inputs ascend.
class Merge {
 public:
  // Invariant: called once for each input, in order.
  void add(std::shared_ptr<const LayerReader> reader) {
    inputs_.push_back({reader, reader->iterate(KeyRange::all(), LayerReader::Cached::kNo), true});
  }
  // Null at the end. An error is that of input failed().
  Result<const StoredValue*> next() {
    if (!started_) {
      started_ = true;
      for (size_t i = 0; i < inputs_.size(); ++i) VARVE_TRY(advance(i));
    } else {
      VARVE_TRY(advance(at_));
    }
    bool found = false;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (!inputs_[i].live) continue;
      if (found && !(inputs_[i].values.value().key < inputs_[at_].values.value().key)) continue;
      found = true;
      at_ = i;
    }
    return found ? &inputs_[at_].values.value() : nullptr;
  }
  size_t failed() const { return failed_; }
  const std::shared_ptr<const LayerReader>& reader(size_t input) const {
    return inputs_[input].reader;
  }

 private:
  struct Input {
    std::shared_ptr<const LayerReader> reader;
    LayerReader::Iterator values;
    bool live;
  };
  Status advance(size_t input) {
    failed_ = input;
    VARVE_TRY_ASSIGN(inputs_[input].live, inputs_[input].values.next());
    return Status();
  }

  std::vector<Input> inputs_;
  size_t at_ = 0;
  size_t failed_ = 0;
  bool started_ = false;
};

}  // namespace

std::vector<LayerMap::Column> Timeline::columns(Lsn upto) const {
  std::vector<LayerMap::Column> columns = {{KeyRange::all(), std::nullopt}};
  if (ancestor_ != nullptr) columns = ancestor_->columns(std::min(upto, index_.start.boundary));
  for (const LayerMap::Column& own : map_.columns(upto)) {
    if (own.image) overlay(columns, own);
  }
  return columns;
}

// The first seconds of a life belong to those who wait for its pages. But a flush that waits for
// compaction does not wait for this.
Status Timeline::wait_to_compact() {
  const Instant begin = now() + options_.timeline.compaction_delay;
  while (now() < begin && map_.level0().size() < options_.timeline.max_level0_layers) {
    const Status waited = compaction_wanted_.wait("compaction's time has not come", begin);
    if (!waited.ok() && !waited.is(Code::kDeadlineExceeded)) return waited;
  }
  return Status();
}

Status Timeline::compact_loop() {
  VARVE_TRY(wait_to_compact());
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

// Compresses what is full (with `all`, everything) off the reactor.
void Timeline::compress(LayerWriter& writer, bool all) {
  const std::vector<LayerBlock> blocks = writer.take_blocks(all);
  if (blocks.empty()) return;
  writer.put_blocks(offload(world_.offload, [&blocks, level = options_.format.compression_level] {
    return compress_blocks(blocks, level);
  }));
}

Result<LayerRef> Timeline::add_layer(LayerWriter& writer, const KeyRange& keys) {
  compress(writer, true);
  LayerWriter::Finished file = writer.finish(keys);
  const LayerRef layer = name_layer(std::move(file.descriptor));
  VARVE_TRY(store_.add(layer, file.content));
  return layer;
}

// Cut at keys into files of about the target size whose ranges are tight. Holds a block of each
// input and one file, whatever the size of the inputs.
Status Timeline::compact_level0(const Level0Job& job) {
  Merge merge;
  for (const LayerRef& input : job.inputs) {
    VARVE_TRY_ASSIGN(std::shared_ptr<const LayerReader> reader, store_.open(input));
    merge.add(std::move(reader));
  }
  std::vector<LayerRef> added;
  std::optional<LayerWriter> writer;
  Key first;
  const auto end_file = [&]() -> Status {
    VARVE_TRY_ASSIGN(LayerRef layer, add_layer(*writer, {first, writer->last_key()->successor()}));
    added.push_back(std::move(layer));
    writer.reset();
    return Status();
  };
  for (uint32_t count = 1;; ++count) {
    const Result<const StoredValue*> value = merge.next();
    if (value.is(Code::kCorrupt)) {
      store_.distrust(job.inputs[merge.failed()], merge.reader(merge.failed()));
    }
    VARVE_TRY(value.status());
    if (*value == nullptr) break;
    const bool full = writer && writer->size() >= options_.compaction.target_layer_bytes;
    if (full && *writer->last_key() != (*value)->key) VARVE_TRY(end_file());
    if (!writer) {
      writer.emplace(LayerKind::kDelta, tenant_.tenant, id_, job.lsn, options_.format,
                     LayerWriter::Compression::kByOwner);
      first = (*value)->key;
    }
    writer->add((*value)->key, (*value)->lsn, (*value)->bytes);
    if (writer->waiting_bytes() >= kCompressedAtOnce) compress(*writer, false);
    if (count % kValuesAtOnce == 0) VARVE_TRY(yield());
  }
  if (writer) VARVE_TRY(end_file());
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

// An image of many pages takes seconds, and only those below it that are read save time by it. So
// it works half of the time; all of it when flushed layers wait to be merged, which is done in
// turns with this.
Status Timeline::rest_from_images(Instant& turn) {
  const Duration worked = now() - turn;
  const bool hurry = map_.level0().size() >= options_.compaction.level0_threshold;
  if (hurry || worked < kImageTurn) return yield();
  VARVE_TRY(sleep_for(worked));
  turn = now();
  return Status();
}

Status Timeline::make_images(const ImageJob& job) {
  std::optional<LayerWriter> writer;
  Key start = job.keys.start;  // of the file being written: files abut, so that they tile the range
  // Each counts at once: a life that ends soon leaves the next one less to do.
  const auto end_file = [&](const Key& end) -> Status {
    VARVE_TRY_ASSIGN(const LayerRef layer, add_layer(*writer, {start, end}));
    start = end;
    writer.reset();
    return publish({layer}, {}, std::nullopt, [] {});
  };
  const auto begin_file = [&] {
    writer.emplace(LayerKind::kImage, tenant_.tenant, id_, LsnRange{job.lsn, job.lsn + 1},
                   options_.format, LayerWriter::Compression::kByOwner);
  };
  const auto add = [&](const Key& key, std::span<const uint8_t> value) -> Status {
    if (writer && writer->size() >= options_.compaction.target_layer_bytes) {
      VARVE_TRY(end_file(key));
    }
    if (!writer) begin_file();
    writer->add(key, job.lsn, value);
    if (writer->waiting_bytes() >= kCompressedAtOnce) compress(*writer, false);
    return Status();
  };

  std::vector<Key> keys;
  VARVE_TRY(add_live_keys(job, keys));
  Instant turn = now();
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
    VARVE_TRY(rest_from_images(turn));
  }
  const KeyRange sparse{std::max(job.keys.start, Key::make(kFirstSparseKind)), job.keys.end};
  if (!sparse.empty()) {
    VARVE_TRY_ASSIGN(const std::vector<Item> items, metadata_range(sparse, job.lsn));
    for (const Item& item : items) {
      VARVE_TRY(add(item.key, make_value(ValueKind::kImage, item.payload)));
    }
  }
  if (!writer) begin_file();
  return end_file(job.keys.end);
}

}  // namespace varve::storage
