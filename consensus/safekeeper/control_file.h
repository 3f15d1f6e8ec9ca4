// The control file: what an acceptor must not forget, as bytes. docs/formats/control-file.md.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"
#include "consensus/core/acceptor.h"
#include "runtime/disk.h"

namespace varve::consensus {

Bytes encode_control_file(const AcceptorState& state);

// Corrupt or Unsupported, naming `object`, when the bytes are not a whole control file that this
// version can read, or say what no acceptor can be in (a history out of order, commit above flush).
Result<AcceptorState> decode_control_file(const Bytes& bytes, std::string_view object);

// `directory`/control. Suspends.
Result<AcceptorState> read_control_file(Disk& disk, const std::string& directory);
// Durable after success; after a crash at any moment the old or the new one is there. Suspends.
Status write_control_file(Disk& disk, const std::string& directory, const AcceptorState& state);

}  // namespace varve::consensus
