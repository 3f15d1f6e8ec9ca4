#include "wal/two_phase.h"

#include "base/codec.h"
#include "base/crc32c.h"

namespace varve::wal {

std::vector<uint8_t> two_phase_file(const TransactionPrepare& prepare) {
  Writer out;
  out.bytes(prepare.state);
  out.le<uint32_t>(crc32c(prepare.state));
  return out.take();
}

std::string two_phase_file_name(const Version& version, uint64_t full_xid) {
  const int digits = version.major >= 17 ? 16 : 8;
  std::string name(static_cast<size_t>(digits), '0');
  for (int i = digits - 1; i >= 0; --i, full_xid >>= 4)
    name[static_cast<size_t>(i)] = "0123456789ABCDEF"[full_xid & 15];
  return name;
}

}  // namespace varve::wal
