#include "storage/remote/layer_store.h"

#include <algorithm>
#include <set>
#include <utility>

#include "storage/remote/index.h"

namespace varve::storage {
namespace {

constexpr std::string_view kTemporary = ".part";
// Of the disk, a twentieth.
constexpr uint64_t kKeptFreePart = 20;
// Of a layer, an eighth, read by ranges: then the rest is worth having.
constexpr uint64_t kFetchedPart = 8;
constexpr uint64_t kFetchPiece = 1 << 20;

}  // namespace

Status retry_until_done(const std::function<Status()>& attempt, const bool& give_up) {
  Duration pause = Duration::millis(10);
  for (;;) {
    const Status status = attempt();
    if (status.ok() || give_up) return status;
    VARVE_TRY(sleep_for(pause));
    pause = std::min(pause * 2, Duration::seconds(1));
  }
}

LayerStore::LayerStore(const StorageWorld& world, const TenantShardId& tenant,
                       const TimelineId& timeline, BlockCache& cache, Scope& scope)
    : world_(world),
      tenant_(tenant.tenant),
      timeline_(timeline),
      prefix_(timeline_prefix(tenant, timeline)),
      cache_(cache),
      scope_(scope) {}

Result<ReadRange> LayerStore::local_reader(const LayerDescriptor& layer) {
  VARVE_TRY_ASSIGN(std::shared_ptr<File> file, world_.disk.open(path_of(layer), OpenMode::kRead));
  VARVE_TRY_ASSIGN(const uint64_t size, file->size());
  if (size != layer.size) return Status(Code::kCorrupt, "the local copy is cut");
  return ReadRange([file](uint64_t offset, uint64_t length) -> Result<Bytes> {
    VARVE_TRY_ASSIGN(Bytes bytes, file->read_at(offset, length));
    if (bytes.size() != length) return Status(Code::kCorrupt, "the local copy is cut");
    return bytes;
  });
}

Result<Bytes> LayerStore::read_object(const std::string& key, ByteRange range) {
  constexpr int kAttempts = 8;
  Duration pause = Duration::millis(10);
  for (int attempt = 1;; ++attempt) {
    Result<Bytes> bytes = world_.objects.get(key, range);
    if (bytes.ok() && bytes->size() != range.length) {
      return Status(Code::kCorrupt, "the object is cut").with_object(key);
    }
    if (bytes.ok() || !policy_of(bytes.code()).retryable || attempt == kAttempts) return bytes;
    VARVE_TRY(sleep_for(pause));
    pause = pause * 2;
  }
}

// The slot has the reader, and the reader this function: so it must not hold the slot.
ReadRange LayerStore::remote_reader(const LayerRef& layer, const std::shared_ptr<Slot>& slot) {
  return [this, layer, reading = std::weak_ptr(slot)](uint64_t offset,
                                                      uint64_t length) -> Result<Bytes> {
    ++remote_reads_;
    Result<Bytes> bytes = read_object(path_of(*layer), ByteRange{offset, length});
    if (const std::shared_ptr<Slot> known = reading.lock()) note_read(layer, known, length);
    return bytes;
  };
}

void LayerStore::note_read(const LayerRef& layer, const std::shared_ptr<Slot>& slot,
                           uint64_t bytes) {
  slot->read += bytes;
  if (slot->fetching || slot->read < layer->size / kFetchedPart) return;
  slot->fetching = true;
  // For all who come, and not for as long as whoever has come to read a block.
  const ContextGuard background(
      {Instant::never(), WorkClass::kBackground, fiber_context().account, 0});
  scope_.spawn("fetch a layer", [this, layer, slot] {
    fetch(layer, slot).ignore("reads go on with ranges of the object");
  });
}

Result<std::shared_ptr<const LayerReader>> LayerStore::open(const LayerRef& layer) {
  std::shared_ptr<Slot>& entry = slots_[number_of(layer)];
  if (entry == nullptr) entry = std::make_shared<Slot>();
  const std::shared_ptr<Slot> slot = entry;  // the map may change while this waits
  if (slot->reader != nullptr) return slot->reader;
  MutexGuard guard(slot->opening, "another fiber opens the layer");
  VARVE_TRY(guard.status());
  if (slot->reader != nullptr) return slot->reader;
  if (Result<ReadRange> read = local_reader(*layer); read.ok()) {
    auto reader = LayerReader::open(*layer, tenant_, timeline_, std::move(*read), &cache_);
    if (reader.ok()) {
      slot->local = true;
      slot->reader = std::move(*reader);
      return slot->reader;
    }
    world_.disk.remove(path_of(*layer)).ignore("a wrong copy; the object is read instead");
  }
  auto reader = LayerReader::open(*layer, tenant_, timeline_, remote_reader(layer, slot), &cache_);
  if (!reader.ok()) return reader.status();
  slot->local = false;
  slot->reader = std::move(*reader);
  return slot->reader;
}

Status LayerStore::fetch(const LayerRef& layer, const std::shared_ptr<Slot>& slot) {
  VARVE_TRY(fetches_.acquire(1, "others fetch layers"));
  uint64_t offset = 0;
  const Status status = write_local(*layer, [&]() -> Result<std::vector<Bytes>> {
    const ByteRange range{offset, std::min(kFetchPiece, layer->size - offset)};
    if (range.length == 0) return std::vector<Bytes>();
    VARVE_TRY_ASSIGN(Bytes piece, read_object(path_of(*layer), range));
    offset += range.length;
    std::vector<Bytes> pieces;
    pieces.push_back(std::move(piece));
    return pieces;
  });
  if (status.ok() && !slot->local) slot->reader = nullptr;  // opened anew, locally
  fetches_.release();
  return status;
}

bool LayerStore::distrust(const LayerRef& layer, const std::shared_ptr<const LayerReader>& reader) {
  const auto found = slots_.find(number_of(layer));
  // Another fiber has met the same and was faster.
  if (found == slots_.end() || found->second->reader != reader) return true;
  if (!found->second->local) return false;
  slots_.erase(found);
  world_.disk.remove(path_of(*layer)).ignore("it is overwritten by the next fetch");
  return true;
}

// A cache must not be what fills the disk that others write their log to.
Status LayerStore::check_room(uint64_t size) {
  VARVE_TRY_ASSIGN(const DiskSpace space, world_.disk.space());
  const uint64_t kept_free = space.total / kKeptFreePart;
  if (space.available >= size && space.available - size >= kept_free) return Status();
  return Status(Code::kFull, "the disk has no room for copies of layers");
}

// Not synced, and a crash may leave any part of it: the checksums in the file say so.
Status LayerStore::write_local(const LayerDescriptor& layer, const NextPiece& next) {
  VARVE_TRY(check_room(layer.size));
  const std::string path = path_of(layer);
  const std::string temporary = path + std::string(kTemporary);
  VARVE_TRY(world_.disk.make_directory(parent_directory(path)));
  {
    VARVE_TRY_ASSIGN(std::unique_ptr<File> file, world_.disk.open(temporary, OpenMode::kCreate));
    VARVE_TRY(file->truncate(0));
    for (uint64_t offset = 0;;) {
      VARVE_TRY_ASSIGN(std::vector<Bytes> piece, next());
      if (piece.empty()) break;
      const uint64_t size = total_size(piece);
      VARVE_TRY(file->write(offset, std::move(piece)));
      offset += size;
    }
  }
  return world_.disk.rename(temporary, path);
}

Status LayerStore::add(const LayerRef& layer, const std::vector<Bytes>& content) {
  bool taken = false;
  write_local(*layer, [&]() -> Result<std::vector<Bytes>> {
    return std::exchange(taken, true) ? std::vector<Bytes>() : content;
  }).ignore("the object is what counts");
  return retry_until_done([&] { return world_.objects.put(path_of(*layer), content).status; },
                          give_up_);
}

void LayerStore::forget(const LayerRef& layer) {
  slots_.erase(number_of(layer));
  scope_.spawn("remove a copy", [this, layer] {
    world_.disk.remove(path_of(*layer)).ignore("the next life removes what it does not know");
  });
}

Status LayerStore::clean(const std::vector<LayerRef>& layers) {
  std::set<std::string> known;
  for (const LayerRef& layer : layers) known.insert(layer->name());
  const std::string directory = prefix_.substr(0, prefix_.size() - 1);
  Result<std::vector<DirectoryEntry>> entries = world_.disk.list(directory);
  if (entries.is(Code::kNotFound)) return Status();
  VARVE_TRY(entries.status());
  for (const DirectoryEntry& entry : *entries) {
    if (!entry.is_directory && !known.contains(entry.name)) {
      VARVE_TRY(world_.disk.remove(prefix_ + entry.name));
    }
  }
  return Status();
}

}  // namespace varve::storage
