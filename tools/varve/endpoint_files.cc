#include "tools/varve/endpoint_files.h"

#include <unistd.h>

#include "real_io/postgres/incarnation.h"
#include "real_io/postgres/place.h"

namespace varve::tool {
namespace {

constexpr size_t kPlaceDigits = 8;

// Lives that were killed have left their directories. Blocks.
Status remove_place(const std::string& wanted) {
  VARVE_TRY_ASSIGN(const real_io::PostgresUser user, real_io::choose_postgres_user(""));
  VARVE_TRY_ASSIGN(const real_io::PostgresPlace place, real_io::choose_place(wanted, user));
  VARVE_TRY(real_io::remove_leftovers(place.directory).status());
  // Another project's life may be there.
  (void)::rmdir(place.directory.c_str());
  (void)::rmdir(wanted.c_str());
  return Status();
}

Status remove_file(Disk& disk, const std::string& path) {
  const Status removed = disk.remove(path);
  return removed.is(Code::kNotFound) ? Status() : removed;
}

}  // namespace

std::string endpoint_directory(const TenantId& tenant, const std::string& endpoint) {
  return "endpoints/" + tenant.to_string() + "-" + endpoint;
}

std::string compute_log_name(const TenantId& tenant, const std::string& endpoint) {
  return "compute-" + tenant.to_string() + "-" + endpoint;
}

std::string postgres_log_name(const TenantId& tenant, const std::string& endpoint) {
  return "postgres-" + tenant.to_string() + "-" + endpoint;
}

std::string compute_place(const Layout& layout, const TenantId& tenant,
                          const std::string& endpoint) {
  return layout.computes() + "/" + tenant.to_string().substr(0, kPlaceDigits) + "/" + endpoint;
}

Status forget_endpoint(Disk& disk, real_io::ThreadPool& threads, const Layout& layout,
                       const TenantId& tenant, const std::string& endpoint) {
  const std::string kept = endpoint_directory(tenant, endpoint);
  VARVE_TRY(remove_tree(disk, kept));
  const Status durable = disk.sync_directory(parent_directory(kept));
  if (!durable.ok() && !durable.is(Code::kNotFound)) return durable;
  for (const std::string& log :
       {compute_log_name(tenant, endpoint), postgres_log_name(tenant, endpoint)}) {
    VARVE_TRY(remove_file(disk, "log/" + log + ".log"));
    VARVE_TRY(remove_file(disk, "log/" + log + ".log.1"));
  }
  return real_io::run_on(threads, "remove a cache",
                         [wanted = compute_place(layout, tenant, endpoint)](real_io::Syscalls&) {
                           return remove_place(wanted);
                         });
}

}  // namespace varve::tool
