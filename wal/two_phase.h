// State files of prepared transactions (pg_twophase): a prepare record's main data and its
// checksum.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wal/effects.h"
#include "wal/version.h"

namespace varve::wal {

// The whole file, which a server reads at start even without recovery.
std::vector<uint8_t> two_phase_file(const TransactionPrepare& prepare);

// Its name: eight hexadecimal digits of the xid, from 17 on sixteen with the epoch in front.
// `full_xid` is epoch << 32 | xid.
std::string two_phase_file_name(const Version& version, uint64_t full_xid);

}  // namespace varve::wal
