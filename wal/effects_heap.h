// Part of effects.cc: the visibility map bits that heap records clear.
#pragma once

#include "base/codec.h"
#include "wal/effects.h"

namespace varve::wal {

// False when the operation is not known. A reader that failed means malformed main data; a block
// that must be there and isn't is reported the same way.
bool parse_heap_effect(const Record& record, Reader& in, Effect& effect);
bool parse_heap2_effect(const Record& record, Reader& in, Effect& effect);

}  // namespace varve::wal
