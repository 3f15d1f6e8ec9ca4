#include "wal/checkpoint_record.h"

#include "wal/extent.h"
#include "wal/writer.h"

namespace varve::wal {

ForgedCheckpoint forge_checkpoint(const LogIdentity& identity, Lsn boundary, Lsn previous,
                                  const Checkpoint& counters) {
  ForgedCheckpoint forged;
  forged.boundary = boundary;
  forged.checkpoint = counters;
  forged.checkpoint.redo = to_start_form(boundary, identity.segment_size);
  const auto body = forged.checkpoint.encode(*identity.version);
  RecordParts parts;
  parts.rmid = static_cast<uint8_t>(Rmgr::kXlog);
  parts.info = 0x00;
  parts.main_data = body;
  std::vector<uint8_t> raw = build_record(*identity.version, parts);
  LogWriter writer(identity, boundary, previous);
  const LsnRange extent = writer.append(raw, forged.bytes);
  forged.start = extent.start;
  forged.end = extent.end;
  return forged;
}

std::vector<LogPiece> forged_segment_pieces(const LogIdentity& identity,
                                            const ForgedCheckpoint& forged) {
  std::vector<LogPiece> pieces;
  const auto add_header = [&](Lsn page, uint32_t gap) {
    std::vector<uint8_t> header(page_header_size(page, identity.segment_size));
    write_page_header(identity, page, gap != 0 ? kPageFirstIsContinuation : 0, gap, header);
    pieces.push_back({page, std::move(header)});
  };
  const Lsn page = forged.boundary.page_start();
  const Lsn segment(forged.boundary.value - forged.boundary.segment_offset(identity.segment_size));
  if (segment < page) add_header(segment, 0);
  // On a page edge the page's header comes with the record.
  if (page < forged.boundary) {
    const Lsn first = page + page_header_size(page, identity.segment_size);
    add_header(page, static_cast<uint32_t>(forged.boundary - first));
  }
  pieces.push_back({forged.boundary, forged.bytes});
  return pieces;
}

}  // namespace varve::wal
