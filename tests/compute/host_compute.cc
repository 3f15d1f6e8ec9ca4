#include "tests/compute/host_compute.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/wal/stock_server.h"
#include "wal/control_file.h"
#include "wal/extent.h"

namespace varve::test {
namespace {

namespace fs = std::filesystem;

bool is_lazy(const std::string& path, uint64_t size) {
  const std::string name = path.substr(path.rfind('/') + 1);
  if (size == 0 || size % kBlockSize != 0) return false;
  if (path.starts_with("base/") || path.starts_with("global/"))
    return name[0] >= '0' && name[0] <= '9';
  const bool hex = name.size() == 4 && name.find_first_not_of("0123456789ABCDEF") == name.npos;
  return hex && (path.starts_with("pg_xact/") || path.starts_with("pg_multixact/"));
}

Status success(const wal::Record&) {
  return Status();
}

}  // namespace

Result<OriginalCluster> read_cluster(const std::string& data) {
  OriginalCluster out;
  for (const auto& item : fs::recursive_directory_iterator(data)) {
    const std::string path = fs::relative(item.path(), data).string();
    if (item.is_directory()) {
      out.plan.directories.push_back(path);
    } else if (item.is_regular_file() && is_lazy(path, item.file_size())) {
      out.plan.lazy_files.push_back({path, static_cast<uint32_t>(item.file_size() / kBlockSize)});
    } else if (item.is_regular_file() && path != "postmaster.pid") {
      PostgresFile file{path, Bytes::copy(read_file(item.path().string()))};
      (path == "global/pg_control" ? out.plan.control_file : out.plan.files.emplace_back()) =
          std::move(file);
    }
  }
  std::sort(out.plan.directories.begin(), out.plan.directories.end());
  const wal::Version* version = wal::version_of_major(15);
  VARVE_TRY_ASSIGN(const wal::ControlFile control,
                   wal::parse_control_file(*version, out.plan.control_file.content.span()));
  out.identity = control.identity(*version);
  out.checkpoint = control.checkpoint_record;
  out.end = wal::record_extent(out.checkpoint, 114, false, control.segment_size).end;
  out.plan.major = 15;
  out.plan.wal_segment_size = control.segment_size;
  return out;
}

HostCompute::HostCompute(PostgresHost& host, std::string data, std::vector<std::string> settings)
    : host_(host), data_(std::move(data)), settings_(std::move(settings)), scope_("compute") {}

HostCompute::~HostCompute() {
  if (life_ != nullptr) life_->stop(PostgresStop::kKill).ignore("its end is waited for");
  scope_.cancel();
  scope_.join().ignore("cancelled");
  for (const auto& [file, fd] : open_) ::close(fd);
}

Status HostCompute::start(Incarnation nonce) {
  VARVE_TRY_ASSIGN(OriginalCluster cluster, read_cluster(data_));
  cluster.plan.nonce = nonce;
  cluster.plan.term = Term(1);
  cluster.plan.settings = {"fsync=on",
                           "wal_sync_method=fdatasync",
                           "full_page_writes=off",
                           "wal_recycle=off",
                           "restart_after_crash=off",
                           "archive_mode=off",
                           "wal_init_zero=off",
                           "listen_addresses=",
                           "port=5432",
                           "dynamic_shared_memory_type=mmap"};
  cluster.plan.settings.insert(cluster.plan.settings.end(), settings_.begin(), settings_.end());
  files_ = cluster.plan.lazy_files;
  gate_.emplace(compute::GateOptions(), cluster.identity, nonce, Term(1), cluster.end,
                cluster.checkpoint, success);
  VARVE_TRY_ASSIGN(std::unique_ptr<PostgresLife> life, host_.start(std::move(cluster.plan)));
  life_.reset(static_cast<real_io::RealPostgresLife*>(life.release()));
  scope_.spawn("pages", [this] { return serve_pages(); });
  scope_.spawn("gate", [this] { return serve_gate(); });
  return life_->wait_ready(now() + Duration::seconds(60));
}

PostgresPageAnswer HostCompute::answer(const PostgresPageWanted& wanted) {
  PostgresPageAnswer out;
  out.request = wanted.request;
  out.fate = PostgresPageFate::kHere;
  auto [at, fresh] = open_.try_emplace(wanted.file, -1);
  if (fresh)
    at->second = ::open((data_ + "/" + files_[wanted.file].path).c_str(), O_RDONLY | O_CLOEXEC);
  for (uint32_t i = 0; i < wanted.blocks; ++i) {
    MutableBytes page(kBlockSize);
    VARVE_CHECK(::pread(at->second, page.data(), kBlockSize,
                        static_cast<off_t>(uint64_t{wanted.first + i} * kBlockSize)) == kBlockSize);
    out.pages.push_back(std::move(page).freeze());
  }
  (wanted.prefetch ? prefetched_ : pages_) += wanted.blocks;
  return out;
}

Status HostCompute::serve_pages() {
  for (;;) {
    VARVE_TRY_ASSIGN(const PostgresPageWanted wanted, life_->next_page());
    life_->answer_page(answer(wanted));
  }
}

void HostCompute::publish(const compute::GateEffects& effects) {
  look_at_ = effects.look_at;
  const compute::GateWord& word = gate_->word();
  if (effects.word_changed) {
    passes_ = word.answered;
    life_->set_gate({word.nonce, word.term, word.lsn, word.answered, word.rewrite, word.open});
  }
  if (effects.kill) {
    kill_text_ = effects.kill->text;
    life_->stop(PostgresStop::kKill).ignore("it has ended");
  }
}

Status HostCompute::look() {
  const PostgresWalTail raw = life_->tail();
  compute::TailSnapshot tail;
  tail.torn = raw.torn;
  tail.tickets = raw.tickets;
  tail.end = raw.end;
  tail.nonzero_at = raw.nonzero_at;
  tail.nonzero_value = raw.nonzero_value;
  tail.inserted = raw.inserted;
  tail.flushed = raw.flushed;
  VARVE_TRY_ASSIGN(const Bytes bytes, life_->read_wal(gate_->wanted(tail)));
  compute::GateEffects effects = gate_->on_tail(now(), tail, bytes);
  publish(effects);
  if (effects.kill || hold_quorum) return Status();
  const std::optional<Instant> look_at = look_at_;
  publish(gate_->on_quorum(Term(1), gate_->proposed()));
  if (!look_at_) look_at_ = look_at;
  return Status();
}

Status HostCompute::serve_gate() {
  for (;;) {
    Instant until = now() + Duration::millis(20);
    if (look_at_) until = std::min(until, *look_at_);
    VARVE_TRY(life_->wait_wal(until));
    VARVE_TRY(look());
  }
}

}  // namespace varve::test
