// File calls below a directory that Postgres owns: no name that Postgres bent is followed out of
// it.
//
// A superuser of the database can put a symbolic link where a file should be. So names are opened
// beneath the directory and through no link, and what opens must be a plain file. All block.
#pragma once

#include <span>
#include <string>

#include "base/status.h"
#include "real_io/unique_fd.h"

namespace varve::real_io {

// openat2(2), beneath and without links; the descriptor (close-on-exec), or minus an error number.
int open_beneath(int directory, const char* path, int flags, unsigned mode = 0);
// unlink(2) in the same way: 0 or an error number.
int unlink_beneath(int directory, const std::string& path);

// All of `bytes` at `offset`: 0 or an error number.
int write_all(int fd, std::span<const uint8_t> bytes, uint64_t offset);
// As many as there are: bytes read, or minus an error number.
int64_t read_all(int fd, std::span<uint8_t> out, uint64_t offset);

// A whole small file. NotFound, or what the kernel says.
Result<std::string> read_text(const std::string& path);

// Removes `path` and all below it; success when there is nothing.
Status remove_tree(const std::string& path);

}  // namespace varve::real_io
