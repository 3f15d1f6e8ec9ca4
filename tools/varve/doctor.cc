// `varve doctor`: what this machine has and lacks, one line each.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "tools/varve/checks.h"
#include "tools/varve/commands.h"
#include "tools/varve/files.h"
#include "tools/varve/layout.h"
#include "tools/varve/lock.h"

namespace varve::tool {
namespace {

class Doctor {
 public:
  void tell(const char* what, const Result<std::string>& found) {
    if (found.ok()) {
      std::printf("ok    %-10s %s\n", what, found->c_str());
      return;
    }
    ++failed_;
    const Status status = found.status();
    const StatusDetail& detail = status.detail();
    std::printf("FAIL  %-10s %s%s%s\n", what, status.message().c_str(),
                detail.object.empty() ? "" : ": ", detail.object.c_str());
    if (!detail.hint.empty()) std::printf("      %-10s %s\n", "", detail.hint.c_str());
  }
  int exit_code() const { return failed_ == 0 ? 0 : 1; }

 private:
  int failed_ = 0;
};

Result<std::string> check_directory(const std::string& directory) {
  if (!exists(directory)) return directory + " (not made yet)";
  VARVE_TRY_ASSIGN(const std::string whole, Layout::prepare(directory));
  if (::access(whole.c_str(), W_OK | X_OK) != 0) return os_error("cannot write", whole);
  return whole;
}

Result<std::string> check_ports(const std::string& directory) {
  const Result<Layout> layout = Layout::open(directory);
  if (layout.is(Code::kNotFound)) return std::string("drawn when the directory is made");
  VARVE_TRY(layout.status());
  VARVE_TRY_ASSIGN(const pid_t holder, DirectoryLock::holder(layout->directory()));
  const std::string block = "from " + std::to_string(layout->control().port) + " on";
  if (holder != 0)
    return block + ", in use by our own supervisor (pid " + std::to_string(holder) + ")";
  VARVE_TRY(layout->check_ports());
  return block + ", free";
}

Result<std::string> check_psql() {
  for (const char* place : {"/usr/bin/psql", "/usr/local/bin/psql"}) {
    if (::access(place, X_OK) == 0) return std::string(place);
  }
  return Status(Code::kNotFound, "psql is not installed")
      .with_hint("only `varve psql` needs it: the Debian package postgresql-client");
}

int examine(const std::string& data) {
  Doctor doctor;
  doctor.tell("directory", check_directory(data));
  const Result<Settings> settings = load_settings(data + "/varve.toml");
  if (settings.ok()) {
    doctor.tell("settings", exists(data + "/varve.toml") ? std::string("varve.toml is well-formed")
                                                         : std::string("the defaults"));
  } else {
    doctor.tell("settings", settings.status());
  }
  doctor.tell("ports", check_ports(data));
  doctor.tell("postgres", check_postgres(settings.ok() ? *settings : Settings()));
  doctor.tell("shim", check_shim());
  doctor.tell("user", check_postgres_user(data));
  doctor.tell("space", check_space(data));
  doctor.tell("psql", check_psql());
  std::printf(
      "note  %-10s a compute's files have holes: copy a database with a branch or "
      "pg_dump, never with tar or rsync\n",
      "backup");
  return doctor.exit_code();
}

void add(CLI::App& app, Chosen& chosen) {
  static std::string data = ".varve";
  CLI::App* verb = app.add_subcommand("doctor", "What this machine has and lacks.");
  verb->add_option("--data", data, "the data directory")->capture_default_str();
  verb->callback([&chosen] { chosen = [] { return examine(data); }; });
}

const Verb kVerb(VerbGroup::kMachine, &add);

}  // namespace
}  // namespace varve::tool
