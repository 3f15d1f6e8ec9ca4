// One stock Postgres as a compute sees it: started from a plan, its disk a cache, its log behind a
// gate.
//
// A PostgresHost makes lives; a PostgresLife is one of them: one postmaster with all its children,
// one directory, one arena, one nonce. A life ends once and is never adopted by anybody else. The
// real host is an arena, a futex, a Unix socket and a spawned process; the simulated one is a model
// that writes real records. Whoever drives a life (compute/agent/) can't tell them apart.
//
// What a host promises:
//   - nothing of Postgres runs before start(), and the directory is one that Postgres refuses to
//   start in until the
//     process that start() made has proved that its file calls go through us; only then is the
//     control file written;
//   - a sync of the log returns in Postgres only when set_gate() has told `answered` of at least
//   its ticket with
//     `open`, in this life's nonce and term; after a closed word it never returns;
//   - every write of the log is in tail() before the ticket of whoever waits for it;
//   - a page that Postgres wrote is never replaced by an answer; an answer that comes too late is
//   dropped;
//   - when this object goes, every process of the life is killed and waited for.
//
// Plain values only, since this room knows no other: compute/ turns them into its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/status.h"
#include "base/time.h"

namespace varve {

enum class PostgresMode : uint8_t {
  kPrimary,  // commits through the gate
  kReader,   // a look at the past: any write of the log ends it
  kStandby,  // replays; can't be promoted
};

// A file that is written as it stands.
struct PostgresFile {
  std::string path;  // relative to the data directory
  Bytes content;
};

// A file of `size` bytes that is a hole but for its pieces. Wholly local: never fetched.
struct PostgresSparseFile {
  struct Piece {
    uint64_t offset = 0;
    Bytes content;
  };
  std::string path;
  uint64_t size = 0;
  std::vector<Piece> pieces;  // ascending, inside the file
};

// A file of `blocks` pages of kBlockSize, each of which is fetched when it is first read.
struct PostgresLazyFile {
  std::string path;
  uint32_t blocks = 0;  // > 0, at most 131,072
};

// A page that is put into a lazy file before the start.
struct PostgresResidentPage {
  uint32_t file = 0;  // index into PostgresPlan::lazy_files
  uint32_t block = 0;
  Bytes page;  // kBlockSize bytes
};

// Everything that a start needs. Paths are relative, '/'-separated, without "." and "..".
struct PostgresPlan {
  Incarnation nonce;  // of this life; never used before
  Term term;          // won by the agent of this life
  PostgresMode mode = PostgresMode::kPrimary;
  uint16_t major = 0;                    // of the Postgres to run
  uint32_t wal_segment_size = 0;         // bytes
  std::vector<std::string> directories;  // parents before children
  std::vector<PostgresFile> files;
  std::vector<PostgresSparseFile> sparse_files;
  std::vector<PostgresLazyFile> lazy_files;
  std::vector<PostgresResidentPage> resident_pages;
  PostgresFile control_file;  // last of all, and only after the proof above
  std::vector<std::string>
      settings;  // "name=value", given as -c arguments: nothing in Postgres overrules them
};

// What is known of the local log. Mirrors compute/gate/tail.h, where each field is argued.
struct PostgresWalTail {
  bool torn = false;     // it was being written: only `tickets` means something
  uint64_t tickets = 0;  // times that somebody came to the gate
  Lsn end;         // behind the last page written, page-aligned; invalid while nothing was written
  Lsn nonzero_at;  // of the last non-zero 8 bytes of the last write; invalid: all were zero
  uint64_t nonzero_value = 0;
  Lsn inserted;  // how far Postgres had given out places in its log; invalid: not known
  Lsn flushed;   // what Postgres believed to be flushed when it last told
};

// What those who wait at the gate read. Mirrors compute/gate/gate.h.
struct PostgresGateWord {
  Incarnation nonce;
  Term term;
  Lsn lsn;                // the quorum holds every record that ends here or before
  uint64_t answered = 0;  // highest ticket that may pass
  uint64_t rewrite = 0;   // grows when the last page should be written again from its buffer
  bool open = true;       // never turns true again
};

// Somebody in Postgres misses pages. One kind of question for two purposes: with `prefetch` nobody
// waits, and an answer is a favour.
struct PostgresPageWanted {
  uint64_t request = 0;  // names the question in the answer; unique in a life
  uint32_t file = 0;     // index into PostgresPlan::lazy_files
  uint32_t first = 0;    // block within the file
  uint32_t blocks = 0;   // > 0, inside the file
  bool prefetch = false;
};

enum class PostgresPageFate : uint8_t {
  kHere,   // `pages` holds at least one page, from the first block on; fewer than wanted is asked
           // for again
  kRetry,  // not now: asked for again after a pause
  kLost,   // can't be rebuilt: an I/O error in the backend that asked, named by it and by our log
};

struct PostgresPageAnswer {
  uint64_t request = 0;
  PostgresPageFate fate = PostgresPageFate::kRetry;
  std::vector<Bytes> pages;  // kBlockSize bytes each
  Lsn lsn;                   // position at which storage was asked
};

// Something that Postgres did and that somebody should know of.
struct PostgresNote {
  enum class Kind : uint8_t {
    kUnknownFile,  // a file was made in the data directory that no restart brings back
    kRefused,      // a call was refused: a tablespace, O_SYNC on the log
  };
  Kind kind = Kind::kUnknownFile;
  std::string text;
};

struct PostgresExit {
  int code = 0;        // exit code of the postmaster, or 128 + signal
  std::string reason;  // a sentence
};

enum class PostgresStop : uint8_t {
  kFast,       // ends sessions, writes a shutdown checkpoint through the gate, exits
  kImmediate,  // the postmaster leaves at once
  kKill,       // SIGKILL to every process of the life, until none is left
};

class PostgresLife {
 public:
  // Kills what still runs and waits for it. Suspends, inside a Shield of its own.
  virtual ~PostgresLife() = default;

  // The newest state of the local log. Never suspends.
  virtual PostgresWalTail tail() const = 0;
  // Suspends until somebody came to the gate or published a write after the last return of this
  // function, or until `deadline` (of the monotonic clock), which is no error. Unavailable once the
  // life has ended. One fiber at a time.
  virtual Status wait_wal(Instant deadline) = 0;
  // The bytes of the local log in `range`, read after the call began; what no segment file holds is
  // zeros (a hole is the gate's to notice). Suspends. Unavailable when a segment can't be read.
  virtual Result<Bytes> read_wal(LsnRange range) = 0;
  // Puts the word where the waiters read it, whole, and wakes them. Never suspends. After a closed
  // word every further one is ignored.
  virtual void set_gate(const PostgresGateWord& word) = 0;

  // The next question for pages. Suspends; Unavailable once the life has ended. Several fibers may
  // ask.
  virtual Result<PostgresPageWanted> next_page() = 0;
  // Answers a question once. Never suspends; an answer that nobody waits for any more is dropped.
  virtual void answer_page(PostgresPageAnswer answer) = 0;

  // The next note. Suspends; Unavailable once the life has ended.
  virtual Result<PostgresNote> next_note() = 0;

  // A small file of the data directory as it stands, for what Postgres keeps outside of its log.
  // `path` as in the plan. NotFound, Full above 1 MiB. Suspends. After the end too, for as long as
  // this object lives.
  virtual Result<Bytes> read_file(const std::string& path) = 0;

  // Suspends until Postgres takes connections; asks nothing of its port, which may be another's.
  // Unavailable when it ends before, DeadlineExceeded at `deadline` (of the monotonic clock).
  virtual Status wait_ready(Instant deadline) = 0;
  // Stops every process where it stands, and lets all go on: for a compute that has lost its lease
  // and may get it back. Between the two no client hears anything. Suspend; Unavailable once the
  // life has ended. One fiber at a time. stop(kKill) works meanwhile, the other stops take effect
  // after resume().
  virtual Status pause() = 0;
  virtual Status resume() = 0;

  // Asks for an end. kKill returns when no process is left; the others return at once, and the end
  // is wait_exit()'s. Success if it has ended already.
  virtual Status stop(PostgresStop how) = 0;
  // Suspends until the postmaster has ended and every other process of the life is gone. Any number
  // of fibers.
  virtual Result<PostgresExit> wait_exit() = 0;
};

class PostgresHost {
 public:
  virtual ~PostgresHost() = default;
  // Makes the directory and starts Postgres in it. Suspends until the postmaster has proved itself
  // and may go on, so that from here on pages are asked for and the gate is waited at; it does not
  // wait for Postgres to take connections. Invalid for a plan that makes no sense, Unsupported for
  // a Postgres that is not installed or has file calls that we don't cover, Refused when the proof
  // fails, Full for the disk. On error nothing runs and nothing is left. Whatever an earlier life
  // left behind is removed first, never used.
  virtual Result<std::unique_ptr<PostgresLife>> start(PostgresPlan plan) = 0;
};

}  // namespace varve
