#include "real_io/postgres/host.h"

#include <stdlib.h>
#include <unistd.h>

#include <climits>

#include "real_io/errors.h"
#include "real_io/postgres/binary.h"
#include "real_io/postgres/data_directory.h"
#include "real_io/postgres/life.h"

namespace varve::real_io {
namespace {

std::string executable_of(const std::string& pattern, uint16_t major) {
  std::string path = pattern;
  const size_t at = path.find('%');
  if (at != std::string::npos) path.replace(at, 1, std::to_string(major));
  return path + "/postgres";
}

// The executable without links, once it is known that the shim covers what it calls.
Result<std::string> check_binary(const std::string& wanted, const std::string& shim, bool ring) {
  char real[PATH_MAX];
  if (::realpath(wanted.c_str(), real) == nullptr) {
    return Status(Code::kUnsupported, "this Postgres is not installed")
        .with_object(wanted)
        .with_hint("install the Debian package postgresql-<major>");
  }
  const std::string binary = real;
  auto covered = read_dynamic_symbols(shim);
  if (!covered.ok()) {
    return Status(covered.code(), "the shim can't be used: " + covered.status().message())
        .with_object(shim)
        .with_hint("build it again: nothing of Postgres runs without it");
  }
  auto symbols = read_dynamic_symbols(binary);
  if (!symbols.ok()) return symbols.status();
  const auto missing = uncovered_file_calls(symbols->undefined, covered->defined, ring);
  if (missing.empty()) return binary;
  std::string names;
  for (const std::string& name : missing) names += (names.empty() ? "" : ", ") + name;
  return Status(Code::kUnsupported,
                "this Postgres makes file calls that the shim doesn't cover: " + names)
      .with_object(binary)
      .with_hint("is this the right shim: " + shim + "?");
}

// Postgres 18 links io_uring, and uses it if it may.
bool may_use_ring(const PostgresPlan& plan) {
  bool ring = true;
  for (const std::string& setting : plan.settings) {
    if (setting.starts_with("io_method=")) ring = setting == "io_method=io_uring";
  }
  return ring;
}

struct Prepared {
  std::string binary;
  PostgresUser user;
  Status not_own;  // why it is not a user of its own
  PostgresPlace place;
  std::vector<std::string> leftovers;
  std::unique_ptr<IncarnationDirectory> directory;
};

Status prepare_directory(const PostgresHostOptions& options, Incarnation nonce, Prepared& out) {
  VARVE_TRY_ASSIGN(out.place, choose_place(options.directory, out.user));
  VARVE_TRY_ASSIGN(const std::vector<std::string> leftovers, remove_leftovers(out.place.directory));
  out.leftovers.insert(out.leftovers.end(), leftovers.begin(), leftovers.end());
  VARVE_TRY_ASSIGN(out.directory,
                   IncarnationDirectory::create(out.place.directory, nonce, out.user));
  Status copied = out.directory->copy_shim(options.shim);
  if (copied.ok()) return copied;
  out.directory->remove().ignore("the first error is the one to tell");
  return copied;
}

Result<std::unique_ptr<Prepared>> prepare(const PostgresHostOptions& options, uint16_t major,
                                          Incarnation nonce, bool ring) {
  auto out = std::make_unique<Prepared>();
  VARVE_TRY_ASSIGN(out->binary,
                   check_binary(executable_of(options.binaries, major), options.shim, ring));
  if (::geteuid() == 0 && options.user.empty() && options.own_user != 0) {
    const auto own = numbered_user(options.own_user);
    if (own.ok()) out->user = *own;
    // Not every file system keeps every number.
    out->not_own = own.ok() ? prepare_directory(options, nonce, *out) : own.status();
    if (out->not_own.ok()) return out;
  }
  VARVE_TRY_ASSIGN(out->user, choose_postgres_user(options.user));
  VARVE_TRY(prepare_directory(options, nonce, *out));
  return out;
}

class RealPostgresHost final : public PostgresHost {
 public:
  explicit RealPostgresHost(std::shared_ptr<PostgresContext> context)
      : context_(std::move(context)) {}

  Result<std::unique_ptr<PostgresLife>> start(PostgresPlan plan) override;

 private:
  std::shared_ptr<PostgresContext> context_;
};

Result<std::unique_ptr<PostgresLife>> RealPostgresHost::start(PostgresPlan plan) {
  VARVE_TRY(check_plan(plan));
  auto work = [options = context_->options, major = plan.major, nonce = plan.nonce,
               ring = may_use_ring(plan)](Syscalls&) {
    return prepare(options, major, nonce, ring);
  };
  VARVE_TRY_ASSIGN(const std::unique_ptr<Prepared> prepared,
                   run_on(context_->threads, "a directory for Postgres", std::move(work)));
  Log& log = context_->log;
  if (!prepared->place.moved_because.empty()) {
    log.warning("compute_directory_moved", "computes have their directories elsewhere",
                {{"wanted", context_->options.directory},
                 {"used", prepared->place.directory},
                 {"because", prepared->place.moved_because}});
  }
  if (!prepared->not_own.ok()) {
    log.warning("compute_user_shared", "this compute runs as the user that others run as",
                {{"because", prepared->not_own}});
  }
  for (const std::string& path : prepared->leftovers)
    log.info("leftover_removed", "an earlier compute's directory", {{"path", path}});
  auto life = std::make_unique<SpawnedPostgres>(context_, prepared->user, std::move(plan),
                                                std::move(prepared->directory));
  VARVE_TRY(life->start(prepared->binary));
  log.info("postgres_started", "the postmaster has proved its shim",
           {{"pid", life->postmaster()}, {"directory", life->directory()}});
  return std::unique_ptr<PostgresLife>(std::move(life));
}

}  // namespace

Result<std::unique_ptr<PostgresHost>> make_postgres_host(Reactor& reactor, Log& log,
                                                         PostgresHostOptions options) {
  VARVE_TRY(become_subreaper());
  auto context = std::make_shared<PostgresContext>(reactor, log, std::move(options));
  return std::unique_ptr<PostgresHost>(std::make_unique<RealPostgresHost>(std::move(context)));
}

}  // namespace varve::real_io
