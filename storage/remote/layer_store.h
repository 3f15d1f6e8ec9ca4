// The layers of one timeline: objects in the store, with copies on the local disk.
//
// The object is the layer; the local file is a cache that may be absent, cut or rotten at any time,
// and is never synced: a reader that finds it wrong drops it and reads the object. A layer without
// a local copy is read by ranges from the store. Once an eighth of it was, it is fetched whole, in
// the background and in pieces: a pageserver that has lost its disk must not begin by copying what
// one block was wanted of.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "runtime/disk.h"
#include "runtime/object_store.h"
#include "runtime/offload.h"
#include "runtime/scope.h"
#include "runtime/sync.h"
#include "storage/format/layer_reader.h"
#include "storage/layer_map.h"

namespace varve::storage {

class OpenMemory;

// What storage asks of the world. All must outlive what they are given to.
struct StorageWorld {
  Disk& disk;
  ObjectStore& objects;
  Offload& offload;
  OpenMemory* open_memory = nullptr;  // null: no limit but each timeline's own
};

// Calls `attempt` until it succeeds, waiting longer each time (10 ms to 1 s). Returns early with
// what the wait says, Cancelled or DeadlineExceeded, and with the attempt's error once `give_up` is
// set. Suspends.
Status retry_until_done(const std::function<Status()>& attempt, const bool& give_up);

class LayerStore {
 public:
  // `prefix` ends in '/' and is both the local directory's and the objects' name. Background
  // fetches run in `scope`.
  LayerStore(const StorageWorld& world, const TenantShardId& tenant, const TimelineId& timeline,
             BlockCache& cache, Scope& scope);

  const std::string& prefix() const { return prefix_; }

  // A reader of the layer. Suspends.
  Result<std::shared_ptr<const LayerReader>> open(const LayerRef& layer);
  // `reader` answered kCorrupt: forgets it and the local copy. False when it reads the object
  // itself; otherwise reading again may succeed. Suspends.
  bool distrust(const LayerRef& layer, const std::shared_ptr<const LayerReader>& reader);
  // Puts a new layer into the store, repeatedly until it is certain, and keeps a local copy if the
  // disk lets. Suspends. Errors: Cancelled, DeadlineExceeded.
  Status add(const LayerRef& layer, const std::vector<Bytes>& content);
  // Forgets a layer that nobody will ask for again, and its local copy; the object stays.
  void forget(const LayerRef& layer);
  // Removes local files that are none of `layers`. Suspends.
  Status clean(const std::vector<LayerRef>& layers);

  // From now on the first error of a put is returned: the process ends, and who does not get it
  // into the store leaves it to the next life, which has the log.
  void give_up_at_errors() { give_up_ = true; }
  const bool& gives_up() const { return give_up_; }

  uint64_t remote_reads() const { return remote_reads_; }

 private:
  struct Slot {
    Mutex opening;
    std::shared_ptr<const LayerReader> reader;
    bool local = false;     // the reader reads the local copy
    bool fetching = false;  // a background fetch was started
    uint64_t read = 0;      // bytes of the object, by ranges
  };
  std::string path_of(const LayerDescriptor& layer) const { return prefix_ + layer.name(); }
  Result<ReadRange> local_reader(const LayerDescriptor& layer);
  ReadRange remote_reader(const LayerRef& layer, const std::shared_ptr<Slot>& slot);
  Result<Bytes> read_object(const std::string& key, ByteRange range);
  void note_read(const LayerRef& layer, const std::shared_ptr<Slot>& slot, uint64_t bytes);
  Status check_room(uint64_t size);
  // The next piece of the file; empty at its end.
  using NextPiece = std::function<Result<std::vector<Bytes>>()>;
  Status write_local(const LayerDescriptor& layer, const NextPiece& next);
  Status fetch(const LayerRef& layer, const std::shared_ptr<Slot>& slot);

  StorageWorld world_;
  TenantId tenant_;
  TimelineId timeline_;
  std::string prefix_;
  BlockCache& cache_;
  Scope& scope_;
  Semaphore fetches_{2};
  // What is unique in a layer's name. The name itself is long, and made anew by whoever asks for
  // it.
  using Number = std::pair<Generation, uint64_t>;
  static Number number_of(const LayerRef& layer) { return {layer->generation, layer->number}; }
  std::map<Number, std::shared_ptr<Slot>> slots_;
  uint64_t remote_reads_ = 0;
  bool give_up_ = false;
};

}  // namespace varve::storage
