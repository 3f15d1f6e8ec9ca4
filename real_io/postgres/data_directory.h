// The data directory of one life, from its plan. Everything here blocks.
#pragma once

#include <string>

#include "base/status.h"
#include "real_io/postgres/place.h"
#include "runtime/postgres_host.h"

namespace varve::real_io {

// Invalid, with the path or index, for a plan that leaves the directory or contradicts itself.
Status check_plan(const PostgresPlan& plan);

// Fill the empty directory `data` as `user` with all of the plan, zeros for its control file, in
// this order: first what has contents, then the lazy files, which are many and may be made by
// several threads at once (`part` of `parts`), then the resident pages.
Status build_fixed_files(const std::string& data, const PostgresPlan& plan,
                         const PostgresUser& user);
Status build_lazy_files(const std::string& data, const PostgresPlan& plan, const PostgresUser& user,
                        size_t part, size_t parts);
Status put_resident_pages(const std::string& data, const PostgresPlan& plan,
                          const PostgresUser& user);

// Makes the directory one that Postgres starts in, under the shim: `path` lies beside it, where
// only this process can make names. (In the directory itself lie zeros under the name.)
Status write_control_file(const std::string& path, const Bytes& content, const PostgresUser& user);
// Undoes it. Success if it is gone already.
Status remove_control_file(const std::string& path);

// A whole file. NotFound; Full when it is larger than `limit`.
Result<std::string> read_data_file(const std::string& data, const std::string& path, size_t limit,
                                   const PostgresUser& user);

}  // namespace varve::real_io
