#include "tests/checker/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/random.h"

namespace varve::checker {
namespace {

constexpr char kMagic[] = "varve-checker-1";

Status os_error(const std::string& what, const std::string& path) {
  return Status(Code::kInternal, what + ": " + std::strerror(errno)).with_object(path);
}

}  // namespace

const char* outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kUnknown:
      return "unknown";
    case Outcome::kAcknowledged:
      return "acknowledged";
    case Outcome::kRefused:
      return "refused";
  }
  VARVE_UNREACHABLE("an outcome without a name");
}

std::string content_of(uint64_t seed, uint64_t id) {
  RandomStream random(seed ^ mix64(id), "checker content");
  std::string text(16 + random.below(385), ' ');
  for (char& c : text) c = static_cast<char>('a' + random.below(26));
  return text;
}

Result<std::unique_ptr<Journal>> Journal::create(const std::string& path, uint64_t seed,
                                                 uint32_t accounts) {
  VARVE_CHECK(accounts >= 2);
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) {
    if (errno == EEXIST) return Status(Code::kExists, "there is a journal").with_object(path);
    return os_error("can't make the journal", path);
  }
  std::unique_ptr<Journal> journal(new Journal(path, file, seed, accounts));
  const std::string head =
      std::string(kMagic) + " " + std::to_string(seed) + " " + std::to_string(accounts) + "\n";
  if (::write(file, head.data(), head.size()) != static_cast<ssize_t>(head.size()))
    return os_error("can't write the journal", path);
  return journal;
}

Result<std::unique_ptr<Journal>> Journal::open(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Status(Code::kNotFound, "there is no journal").with_object(path);
  std::string content{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  content.resize(content.rfind('\n') == std::string::npos ? 0 : content.rfind('\n') + 1);
  std::istringstream head(content.substr(0, content.find('\n')));
  std::string magic;
  uint64_t seed = 0;
  uint32_t accounts = 0;
  if (!(head >> magic >> seed >> accounts) || accounts < 2 || magic != kMagic)
    return Status(Code::kCorrupt, "this is not a checker's journal").with_object(path);
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) return os_error("can't open the journal", path);
  std::unique_ptr<Journal> journal(new Journal(path, file, seed, accounts));
  if (::ftruncate(file, static_cast<off_t>(content.size())) != 0)
    return os_error("can't cut the journal's torn line", path);
  VARVE_TRY(journal->replay(content.substr(content.find('\n') + 1)));
  return journal;
}

Result<std::unique_ptr<Journal>> Journal::fork(const std::string& path, JournalPosition from,
                                               JournalPosition until) const {
  VARVE_TRY_ASSIGN(std::unique_ptr<Journal> forked, create(path, seed_, accounts_));
  for (const auto& [id, record] : operations()) {
    if (record.sent >= until) continue;
    const Operation& operation = record.operation;
    VARVE_TRY(forked->enter("sent " + std::to_string(id) + ' ' + std::to_string(operation.debit) +
                            ' ' + std::to_string(operation.credit) + ' ' +
                            std::to_string(operation.amount)));
    // A refusal is for ever, whenever it was told.
    const bool known = record.outcome == Outcome::kRefused ||
                       (record.outcome == Outcome::kAcknowledged && record.answered < from);
    if (known) VARVE_TRY(forked->answered(id, record.outcome, "forked"));
    if (record.seen && record.seen_at < from) VARVE_TRY(forked->seen(id));
  }
  return forked;
}

Journal::~Journal() {
  ::close(file_);
}

JournalPosition Journal::position() const {
  const std::lock_guard lock(mutex_);
  return position_;
}

Status Journal::sent(uint32_t session, Operation& operation) {
  const std::lock_guard lock(mutex_);
  operation.id = (uint64_t{session} << 32) | ++last_[session];
  std::ostringstream line;
  line << "sent " << operation.id << ' ' << operation.debit << ' ' << operation.credit << ' '
       << operation.amount;
  return enter_locked(line.str());
}

Status Journal::answered(uint64_t id, Outcome outcome, const std::string& why) {
  return enter(std::string(outcome_name(outcome)) + ' ' + std::to_string(id) + ' ' + why);
}

Status Journal::seen(uint64_t id) {
  return enter("seen " + std::to_string(id));
}

Status Journal::remark(const std::string& text) {
  std::string line = "remark " + text;
  for (char& c : line)
    if (c == '\n') c = ' ';
  return enter(line);
}

std::map<uint64_t, OperationRecord> Journal::operations() const {
  const std::lock_guard lock(mutex_);
  return operations_;
}

Status Journal::enter(const std::string& line) {
  const std::lock_guard lock(mutex_);
  return enter_locked(line);
}

Status Journal::enter_locked(const std::string& line) {
  const std::string whole = line + '\n';
  if (::write(file_, whole.data(), whole.size()) != static_cast<ssize_t>(whole.size()))
    return os_error("can't write the journal", path_);
  return replay_line(line);
}

Status Journal::replay(const std::string& content) {
  std::istringstream in(content);
  for (std::string line; std::getline(in, line);) VARVE_TRY(replay_line(line));
  return Status();
}

Status Journal::replay_line(const std::string& line) {
  std::istringstream in(line);
  std::string kind;
  uint64_t id = 0;
  in >> kind;
  const JournalPosition at = position_++;
  if (kind == "remark") return Status();
  const Status corrupt =
      Status(Code::kCorrupt, "entry " + std::to_string(at) + " makes no sense: " + line)
          .with_object(path_);
  if (!(in >> id)) return corrupt;
  if (kind == "sent") {
    OperationRecord record;
    record.operation.id = id;
    record.sent = at;
    if (!(in >> record.operation.debit >> record.operation.credit >> record.operation.amount) ||
        !operations_.emplace(id, record).second)
      return corrupt;
    uint32_t& last = last_[static_cast<uint32_t>(id >> 32)];
    last = std::max(last, static_cast<uint32_t>(id));
    return Status();
  }
  const auto known = operations_.find(id);
  if (known == operations_.end()) return corrupt;
  if (kind == "seen") {
    known->second.seen = true;
    known->second.seen_at = at;
    return Status();
  }
  for (const Outcome outcome : {Outcome::kUnknown, Outcome::kAcknowledged, Outcome::kRefused}) {
    if (kind != outcome_name(outcome)) continue;
    known->second.outcome = outcome;
    known->second.answered = at;
    return Status();
  }
  return corrupt;
}

}  // namespace varve::checker
