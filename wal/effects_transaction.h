// Part of effects.cc: records of the transaction manager, whose layout varies the most.
#pragma once

#include "base/codec.h"
#include "wal/effects.h"

namespace varve::wal {

// False when the operation is not known. A reader that failed means malformed main data.
bool parse_transaction(const Version& version, const Record& record, Reader& in, Effect& effect);

}  // namespace varve::wal
