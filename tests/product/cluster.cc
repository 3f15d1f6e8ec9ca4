#include "tests/product/cluster.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <filesystem>
#include <sstream>
#include <thread>

namespace varve::product {
namespace {

using Clock = std::chrono::steady_clock;

// What could be read of it. A stream would throw when a process ends while its file in /proc is
// read.
std::string content_of(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return "";
  std::string content;
  char buffer[16384];
  for (ssize_t n; (n = ::read(file, buffer, sizeof buffer)) > 0;)
    content.append(buffer, static_cast<size_t>(n));
  ::close(file);
  return content;
}

struct Process {
  pid_t pid = 0;
  pid_t parent = 0;
  std::string name;  // of the executable, as the kernel shortens it
  std::vector<std::string> arguments;
};

// Of /proc/N/stat: the name stands in parentheses and may hold anything.
std::optional<Process> read_process(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  const std::string stat = content_of(folder + "/stat");
  const size_t open = stat.find('('), close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos) return std::nullopt;
  Process process;
  process.pid = pid;
  process.name = stat.substr(open + 1, close - open - 1);
  char state = 0;
  std::istringstream(stat.substr(close + 1)) >> state >> process.parent;
  if (state == 'Z' || state == 'X') return std::nullopt;
  std::istringstream line(content_of(folder + "/cmdline"));
  for (std::string word; std::getline(line, word, '\0');) process.arguments.push_back(word);
  return process;
}

std::map<pid_t, Process> all_processes() {
  std::map<pid_t, Process> all;
  DIR* folder = ::opendir("/proc");
  if (folder == nullptr) return all;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    pid_t pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc{}) continue;
    if (auto process = read_process(pid)) all.emplace(pid, std::move(*process));
  }
  ::closedir(folder);
  return all;
}

std::string argument_after(const Process& process, const std::string& flag) {
  for (size_t i = 0; i + 1 < process.arguments.size(); ++i)
    if (process.arguments[i] == flag) return process.arguments[i + 1];
  return "";
}

// "" when it is no daemon of this directory.
std::string part_name(const Process& process, const std::string& directory) {
  if (process.arguments.size() < 2 || argument_after(process, "--data") != directory) return "";
  const std::string& verb = process.arguments[1];
  if (verb == "control") return verb;
  if (verb == "up") return "supervisor";
  if (verb == "compute") return "compute-" + argument_after(process, "--endpoint");
  const std::string node = argument_after(process, "--node");
  if (node.size() == 2 && (verb == "safekeeper" || verb == "pageserver"))
    return verb + "-" + node.substr(1);
  return "";
}

}  // namespace

ScratchDirectory::ScratchDirectory(const std::string& name)
    : path_("/var/tmp/varve-" + name + "-XXXXXX") {
  VARVE_CHECK_MSG(::mkdtemp(path_.data()) != nullptr, "can't make a directory under /var/tmp");
  VARVE_CHECK(::chmod(path_.c_str(), 0755) == 0);
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  if (!kept_) std::filesystem::remove_all(path_, ignored);
}

Result<std::unique_ptr<Cluster>> Cluster::start(ClusterOptions options) {
  std::unique_ptr<Cluster> cluster(new Cluster(std::move(options)));
  VARVE_TRY(cluster->start_again());
  return cluster;
}

Cluster::~Cluster() {
  kill_everything();
}

Status Cluster::start_again() {
  const size_t before = said().size();
  VARVE_TRY_ASSIGN(auto up, programs::ChildProcess::spawn(
                                {.command = {options_.executable, "up", "--data", directory()},
                                 .environment = options_.environment,
                                 .log = directory() + ".out"}));
  supervisor_ = std::move(up);
  const auto deadline = Clock::now() + std::chrono::seconds(60);
  while (said().find("varve is up", before) == std::string::npos) {
    if (!supervisor_->running() || Clock::now() > deadline)
      return Status(Code::kUnavailable, "varve up does not come up:\n" + said().substr(before))
          .with_object(directory());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return Status();
}

Status Cluster::stop(Duration limit) {
  supervisor_->signal(SIGINT);
  VARVE_TRY_ASSIGN(const int code, supervisor_->wait(limit));
  if (code != 0)
    return Status(Code::kInternal,
                  "varve up ended with exit code " + std::to_string(code) + "\n" + said());
  if (const size_t left = processes(); left > 0)
    return Status(Code::kInternal, std::to_string(left) + " processes are left after a stop");
  return Status();
}

Result<pid_t> Cluster::pid_of(const std::string& part) const {
  const std::map<std::string, pid_t> found = parts();
  const auto at = found.find(part);
  if (at == found.end()) return Status(Code::kNotFound, "no process is '" + part + "'");
  return at->second;
}

Result<pid_t> Cluster::kill(const std::string& part) const {
  VARVE_TRY_ASSIGN(const pid_t pid, pid_of(part));
  if (::kill(pid, SIGKILL) != 0) return Status(Code::kNotFound, "'" + part + "' is just gone");
  return pid;
}

Status Cluster::wait_for_next_life(const std::string& part, pid_t former, Duration limit) const {
  const auto deadline = Clock::now() + std::chrono::nanoseconds(limit.nanoseconds);
  while (Clock::now() < deadline) {
    const Result<pid_t> now = pid_of(part);
    if (now.ok() && *now != former) return Status();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return Status(Code::kDeadlineExceeded, "'" + part + "' was not started again in " +
                                             std::to_string(limit.to_millis()) + " ms");
}

void Cluster::kill_everything() {
  // The supervisor first, or it would start the others again. Then until none is left: a process
  // may have been about to start another.
  if (supervisor_ && supervisor_->running()) ::kill(supervisor_->pid(), SIGKILL);
  for (std::vector<pid_t> all = family(); !all.empty(); all = family()) {
    for (const pid_t pid : all) ::kill(pid, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  supervisor_.reset();
}

size_t Cluster::processes() const {
  return family().size();
}

Status Cluster::control(const std::function<Status(tool::ControlClient&)>& body) const {
  return tool::with_control(options_.directory, body);
}

Result<std::string> Cluster::endpoint(const std::string& branch) const {
  std::string target;
  VARVE_TRY(control([&](tool::ControlClient& client) -> Status {
    VARVE_TRY(client.ensure_project(kProject).status());
    VARVE_TRY_ASSIGN(const tool::EndpointInfo running, client.ensure_running(kProject, branch));
    target = running.connection_string;
    return Status();
  }));
  return target;
}

Status Cluster::no_aborts() const {
  const std::string text = said();
  const size_t at = text.find("was killed by signal 6");
  if (at == std::string::npos) return Status();
  const size_t line = text.rfind('\n', at) + 1;
  return Status(Code::kInternal, text.substr(line, text.find('\n', at) - line))
      .with_object(options_.directory + "/log");
}

std::string Cluster::said() const {
  return content_of(options_.directory + ".out");
}

std::map<std::string, pid_t> Cluster::parts() const {
  const std::map<pid_t, Process> all = all_processes();
  std::map<std::string, pid_t> found;
  for (const auto& [pid, process] : all) {
    const std::string name = part_name(process, options_.directory);
    if (!name.empty()) found[name] = pid;
  }
  for (const auto& [pid, process] : all) {
    const auto parent = all.find(process.parent);
    if (process.name != "postgres" || parent == all.end()) continue;
    const std::string above = part_name(parent->second, options_.directory);
    // Backends that outlive their postmaster become children of the compute, too.
    const bool postmaster = argument_after(process, "-D") != "";
    if (above.starts_with("compute-") && postmaster)
      found["postgres-" + above.substr(std::string("compute-").size())] = pid;
  }
  return found;
}

// All daemons and whatever descends from one; and what runs in a folder of this directory, since
// the children of a killed process are somebody else's.
std::vector<pid_t> Cluster::family() const {
  const std::map<pid_t, Process> all = all_processes();
  std::vector<pid_t> members;
  for (const auto& [pid, process] : all) {
    bool member = false;
    for (auto at = all.find(pid); at != all.end() && !member; at = all.find(at->second.parent))
      member = !part_name(at->second, options_.directory).empty();
    std::error_code unknown;
    const std::string here =
        std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/cwd", unknown);
    if (member || here.starts_with(options_.directory + "/")) members.push_back(pid);
  }
  return members;
}

}  // namespace varve::product
