// What a layer is: an immutable file with the values of a rectangle of keys and LSNs.
//
// A delta layer holds every value of its keys in [lsn.start, lsn.end). An image layer holds, for
// each key of its range that exists at lsn.start, one value that starts a chain; a key that is not
// in it does not exist there. docs/formats/layer.md has the bytes.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "base/ids.h"
#include "base/lsn.h"
#include "storage/key.h"

namespace varve::storage {

enum class LayerKind : uint8_t { kDelta = 0, kImage = 1 };

// Names a layer and says what it covers. `generation` and `number` make the name unique: a name is
// never given to two contents (a generation is one life of one attachment, numbers count up in it).
struct LayerDescriptor {
  LayerKind kind = LayerKind::kDelta;
  KeyRange keys;
  LsnRange lsn;  // of an image layer: [its LSN, its LSN + 1)
  Generation generation;
  uint64_t number = 0;
  uint64_t size = 0;     // bytes of the file
  uint64_t entries = 0;  // values in it

  auto operator<=>(const LayerDescriptor&) const = default;

  bool is_image() const { return kind == LayerKind::kImage; }
  // Spans all keys: written by a flush, not yet by compaction.
  bool is_level0() const { return !is_image() && keys == KeyRange::all(); }
  // The last path component of its file and object, e.g.
  // "delta-<start>-<end>-<lsn>-<lsn>-<generation>-<number>", all hexadecimal.
  std::string name() const;
};

}  // namespace varve::storage
