// What differs between the major versions of Postgres in the formats that this room reads and
// writes.
//
// One table row a version, so that code asks "how wide is a page number here", never "which major
// is this". A major is recognised by the magic number of each WAL page, which is its only reliable
// mark in the log.
#pragma once

#include <cstdint>
#include <optional>

namespace varve::wal {

// Bits of the one-byte description of a block image. Postgres 15 moved them.
struct ImageFlags {
  uint8_t has_hole;
  uint8_t apply;
  uint8_t pglz;
  uint8_t lz4;   // 0: this version does not know the method
  uint8_t zstd;  // 0: as above
};

struct Version {
  uint16_t major;
  uint16_t page_magic;       // first two bytes of every WAL page
  uint32_t control_version;  // pg_control_version; 14 to 16 share one
  uint32_t control_crc;      // offset of the checksum in pg_control
  ImageFlags image;
  uint32_t max_record_length;     // xl_tot_len above it can't be a record
  uint16_t relation_map_bytes;    // size of pg_filenode.map
  uint8_t slru_page_number_size;  // bytes of a page number in CLOG, commit-timestamp and multixact
                                  // records
  bool checkpoint_has_wal_level;
  bool database_create_by_log;  // database records: 00 copies files, 10 logs blocks, 20 drops (14:
                                // 00, -, 10)
  uint8_t
      dropped_statistics_size;  // bytes of an item in commit and prepare records; 0: no such part
};

// The row of a major version, or null when it is not known.
const Version* version_of_major(uint16_t major);
// The row whose pages carry `magic`, or null.
const Version* version_of_magic(uint16_t magic);

}  // namespace varve::wal
