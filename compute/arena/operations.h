/* What the actors of the arena do to a lazy file, as plain C over an environment of a few calls.
 *
 * The same functions run in the shim (real files, robust mutexes, futexes, a socket to the agent),
 * in the agent (prefetch and punch) and in the model checker, which takes every interleaving of
 * them and kills an actor at each step. What they keep:
 *
 *  1. A block that a completed write put into the file is never replaced by storage's version.
 *  2. A fetched block never lands in another file than the one it was asked for.
 *  3. Nobody waits for ever, whoever is killed: the lock is robust and its next holder finishes
 * what the dead one began (the file's intent); FETCHING is a hint that a reader believes for
 * VARVE_FETCH_PATIENCE_MS.
 *  4. A missing block is never read as zeros, as a short count or as "no such file": it is fetched
 * or an error.
 *
 * A file's lock is held over local file calls only, never over a fetch and never while asleep, so
 * truncate and unlink, which Postgres calls in critical sections, wait for nothing but other local
 * calls.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/types.h>

#include "compute/arena/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  VARVE_FETCH_BLOCKS = 16,       /* at most so many blocks in one fetch */
  VARVE_READ_BLOCKS = 64,        /* at most so many blocks are read under one check */
  VARVE_FETCH_PATIENCE_MS = 100, /* how long a reader believes that another one fetches */
};

/* What the operations need from the world. Calls that return int answer 0 or a positive errno, and
 * never set errno themselves. */
struct varve_env {
  void* context;
  struct varve_arena* arena;
  /* Takes the file's lock: 0, or EOWNERDEAD when its holder died (the lock is taken all the same).
   * May wait. */
  int (*lock)(void* context, struct varve_entry* entry);
  void (*unlock)(void* context, struct varve_entry* entry);
  /* Sleeps while *word == value, at most `milliseconds`; may wake early. */
  void (*sleep)(void* context, uint32_t* word, uint32_t value, int milliseconds);
  void (*wake)(void* context, uint32_t* word);
  /* Plain calls on the local file: bytes moved, or -errno. */
  int64_t (*pread)(void* context, int fd, void* buffer, uint64_t bytes, uint64_t offset);
  int64_t (*pwrite)(void* context, int fd, const void* buffer, uint64_t bytes, uint64_t offset);
  int (*open)(void* context, const char* path, int flags, unsigned mode, int* fd);
  int (*truncate)(void* context, const char* path, uint64_t bytes);
  int (*unlink)(void* context, const char* path);
  /* Makes a hole of `blocks` blocks; the file keeps its length. */
  int (*punch)(void* context, int fd, uint32_t first, uint32_t blocks);
  /* Asks storage for [first, first + blocks) of the file; waits. The number of leading blocks that
   * came, at least one, with *pages pointing at them (valid until the next fetch); or -errno. */
  int (*fetch)(void* context, const struct varve_entry* entry, uint32_t generation, uint32_t first,
               uint32_t blocks, const uint8_t** pages);
};

/* ---- small helpers
 * -------------------------------------------------------------------------------------- */

static inline uint64_t varve_bytes_of(uint64_t blocks) {
  return blocks * VARVE_BLOCK_SIZE;
}

/* Is block `block` local as far as `head` knows: at or above the base? */
static inline int varve_is_local(uint64_t head, uint64_t block) {
  return block >= varve_head_base(head);
}

/* Gives the word its new state and wakes who sleeps on it. Only for words that others change by CAS
 * as well. */
static inline void varve_word_set(const struct varve_env* env, uint32_t* word, uint32_t next) {
  for (;;) {
    const uint32_t now = varve_load32(word);
    if (!varve_cas32(word, now, next)) continue;
    if (now & VARVE_WORD_SLEEPERS) env->wake(env->context, word);
    return;
  }
}

/* FETCHING back to MISSING, unless somebody made it PRESENT or punched it meanwhile. */
static inline void varve_word_release(const struct varve_env* env, uint32_t* word,
                                      uint32_t version) {
  for (;;) {
    const uint32_t now = varve_load32(word);
    if (varve_word_state(now) != VARVE_BLOCK_FETCHING || varve_word_version(now) != version) return;
    if (!varve_cas32(word, now, varve_word(VARVE_BLOCK_MISSING, version))) continue;
    if (now & VARVE_WORD_SLEEPERS) env->wake(env->context, word);
    return;
  }
}

/* Finishes what a dead holder of the lock began. The caller holds the lock. May itself be killed at
 * any point and be repeated: nobody can have touched the file in between, since all who do take the
 * lock first. */
static inline void varve_recover(const struct varve_env* env, struct varve_entry* entry) {
  const uint64_t intent = varve_load64(&entry->intent);
  const uint64_t head = varve_load64(&entry->head);
  const int done = varve_head_generation(head) != varve_intent_generation(intent);
  varve_count(&env->arena->counters.recoveries, 1);
  switch (varve_intent_what(intent)) {
    case VARVE_INTENT_NONE:
      return;
    case VARVE_INTENT_TRUNCATE: {
      const uint32_t blocks = varve_intent_blocks(intent);
      const uint32_t base = varve_head_base(head);
      if (VARVE_ARENA_RULE(recover_truncate, done)) break;
      (void)env->truncate(env->context, entry->path, varve_bytes_of(blocks));
      varve_store64(&entry->head, varve_head(varve_head_generation(head) + 1, varve_head_dead(head),
                                             blocks < base ? blocks : base));
      break;
    }
    case VARVE_INTENT_UNLINK:
      if (VARVE_ARENA_RULE(recover_unlink, done)) break;
      (void)env->unlink(env->context, entry->path);
      varve_store64(&entry->head,
                    varve_head(varve_head_generation(head) + 1, 1, varve_head_base(head)));
      break;
  }
  varve_store64(&entry->intent, 0);
}

static inline void varve_lock(const struct varve_env* env, struct varve_entry* entry) {
  if (env->lock(env->context, entry) == EOWNERDEAD) varve_recover(env, entry);
}
static inline void varve_unlock(const struct varve_env* env, struct varve_entry* entry) {
  env->unlock(env->context, entry);
}

/* ---- opening
 * -------------------------------------------------------------------------------------------- */

/* Opens the path of `entry` as open(2) would. 0 with *fd and *bound: 1 when the descriptor is the
 * lazy file, 0 when it is a new, local file of the same name; or an errno, never ENOENT for a lazy
 * file that should be there. Under the lock, so that the name cannot change between the look at the
 * entry and the open. */
static inline int varve_open(const struct varve_env* env, struct varve_entry* entry, int flags,
                             unsigned mode, int* fd, int* bound) {
  varve_lock(env, entry);
  const uint64_t head = varve_load64(&entry->head);
  int error;
  *bound = !varve_head_dead(head);
  if (*bound && (flags & O_TRUNC)) {
    varve_store64(&entry->intent,
                  varve_intent(VARVE_INTENT_TRUNCATE, 0, varve_head_generation(head)));
    error = env->open(env->context, entry->path, flags, mode, fd);
    if (error == 0) varve_store64(&entry->head, varve_head(varve_head_generation(head) + 1, 0, 0));
    varve_store64(&entry->intent, 0);
  } else {
    error = env->open(env->context, entry->path, flags, mode, fd);
  }
  varve_unlock(env, entry);
  if (*bound && error == ENOENT) error = EIO; /* it vanished behind our back */
  return error;
}

/* ---- fetching
 * ------------------------------------------------------------------------------------------- */

/* A run of blocks that one actor said he would fetch. */
struct varve_claim {
  uint32_t first;
  uint32_t blocks;
  uint32_t generation;
  uint32_t versions[VARVE_FETCH_BLOCKS];
};

/* Claims the leading MISSING blocks of [first, first + blocks) that lie below the base. Blocks
 * claimed. */
static inline uint32_t varve_claim_missing(const struct varve_env* env, struct varve_entry* entry,
                                           uint32_t first, uint32_t blocks,
                                           struct varve_claim* claim) {
  const uint64_t head = varve_load64(&entry->head);
  claim->first = first;
  claim->blocks = 0;
  claim->generation = varve_head_generation(head);
  if (varve_head_dead(head)) return 0;
  while (claim->blocks < blocks && claim->blocks < VARVE_FETCH_BLOCKS &&
         !varve_is_local(head, first + claim->blocks)) {
    uint32_t* word = varve_block_word(env->arena, entry, first + claim->blocks);
    const uint32_t now = varve_load32(word);
    const uint32_t version = varve_word_version(now);
    if (varve_word_state(now) != VARVE_BLOCK_MISSING) break;
    if (!varve_cas32(word, now, varve_word(VARVE_BLOCK_FETCHING, version))) break;
    claim->versions[claim->blocks++] = version;
  }
  return claim->blocks;
}

/* Gives up the claim on blocks [from, end). */
static inline void varve_claim_release(const struct varve_env* env, struct varve_entry* entry,
                                       const struct varve_claim* claim, uint32_t from) {
  for (uint32_t i = from; i < claim->blocks; ++i) {
    varve_word_release(env, varve_block_word(env->arena, entry, claim->first + i),
                       claim->versions[i]);
  }
}

/* Puts the first `arrived` fetched pages of a claim into the file and gives up the rest. Each page
 * goes in only if its block still waits for exactly this fetch: same generation of the file, same
 * version of the block, not present. `fd` belongs to this file. 0, or the errno of a write that
 * failed: those blocks are MISSING. */
static inline int varve_fill(const struct varve_env* env, struct varve_entry* entry, int fd,
                             const struct varve_claim* claim, const uint8_t* pages,
                             uint32_t arrived) {
  int error = 0;
  uint32_t filled = 0;
  varve_lock(env, entry);
  const uint64_t head = varve_load64(&entry->head);
  if (VARVE_ARENA_RULE(
          fill_same_generation,
          !varve_head_dead(head) && varve_head_generation(head) == claim->generation)) {
    uint32_t i = 0;
    while (i < arrived && error == 0) {
      uint32_t run = 0;
      while (i + run < arrived) {
        const uint32_t now =
            varve_load32(varve_block_word(env->arena, entry, claim->first + i + run));
        if (!VARVE_ARENA_RULE(fill_not_present, varve_word_state(now) != VARVE_BLOCK_PRESENT))
          break;
        if (!VARVE_ARENA_RULE(fill_same_version,
                              varve_word_version(now) == claim->versions[i + run]))
          break;
        ++run;
      }
      if (run == 0) {
        ++i; /* a writer was faster */
        continue;
      }
      const int64_t written = env->pwrite(env->context, fd, pages + varve_bytes_of(i),
                                          varve_bytes_of(run), varve_bytes_of(claim->first + i));
      const uint32_t whole = written < 0 ? 0 : (uint32_t)(written / VARVE_BLOCK_SIZE);
      if (whole < run) error = written < 0 ? (int)-written : ENOSPC;
      for (uint32_t k = 0; k < whole; ++k) {
        varve_word_set(env, varve_block_word(env->arena, entry, claim->first + i + k),
                       varve_word(VARVE_BLOCK_PRESENT, claim->versions[i + k]));
      }
      filled += whole;
      i += run;
    }
  }
  varve_unlock(env, entry);
  varve_claim_release(env, entry, claim, 0);
  varve_count(&env->arena->counters.fetched_blocks, filled);
  if (error == 0) varve_count(&env->arena->counters.dropped_blocks, arrived - filled);
  return error;
}

enum varve_fetched {
  VARVE_FETCHED_AGAIN = 0,  /* look at the block again */
  VARVE_FETCHED_DIRECT = 1, /* the disk took no page; *page is the block, good for this one read */
};

/* One step towards having block `block`: fetches it, with up to `ahead` missing blocks behind it,
 * or waits for who said that he would. An enum varve_fetched, or -errno. */
static inline int varve_fetch_block(const struct varve_env* env, struct varve_entry* entry, int fd,
                                    uint32_t block, uint32_t ahead, const uint8_t** page) {
  struct varve_claim claim;
  uint32_t* word = varve_block_word(env->arena, entry, block);
  if (varve_claim_missing(env, entry, block, 1 + ahead, &claim) == 0) {
    const uint64_t head = varve_load64(&entry->head);
    uint32_t now = varve_load32(word);
    if (varve_head_dead(head)) return -EIO; /* the file was unlinked; storage forgets it as well */
    if (varve_is_local(head, block) || varve_word_state(now) != VARVE_BLOCK_FETCHING)
      return VARVE_FETCHED_AGAIN;
    if ((now & VARVE_WORD_SLEEPERS) == 0) {
      if (!varve_cas32(word, now, now | VARVE_WORD_SLEEPERS)) return VARVE_FETCHED_AGAIN;
      now |= VARVE_WORD_SLEEPERS;
    }
    env->sleep(env->context, word, now, VARVE_FETCH_PATIENCE_MS);
    if (VARVE_ARENA_RULE(patience_ends, varve_load32(word) != now)) return VARVE_FETCHED_AGAIN;
    /* He may be dead. Fetching twice is harmless: only one fill finds the block still waiting. */
    claim.first = block;
    claim.blocks = 1;
    claim.generation = varve_head_generation(head);
    claim.versions[0] = varve_word_version(now);
    varve_count(&env->arena->counters.takeovers, 1);
  }
  varve_count(&env->arena->counters.fetches, 1);
  const uint8_t* pages = NULL;
  const int arrived =
      env->fetch(env->context, entry, claim.generation, claim.first, claim.blocks, &pages);
  if (arrived < 0) {
    varve_claim_release(env, entry, &claim, 0);
    return arrived;
  }
  const int error = varve_fill(env, entry, fd, &claim, pages, (uint32_t)arrived);
  if (error == 0) return VARVE_FETCHED_AGAIN;
  *page = pages;
  varve_count(&env->arena->counters.direct_blocks, 1);
  return VARVE_FETCHED_DIRECT;
}

/* ---- reading
 * -------------------------------------------------------------------------------------------- */

/* Copies the part of `page` (block `block`) that [offset, offset + bytes) covers, counted from
 * `offset`, to `buffer`. The offset behind the part. */
static inline uint64_t varve_copy_direct(void* buffer, uint64_t bytes, uint64_t offset,
                                         uint64_t block, const uint8_t* page) {
  const uint64_t from = offset > varve_bytes_of(block) ? offset : varve_bytes_of(block);
  const uint64_t end =
      offset + bytes < varve_bytes_of(block + 1) ? offset + bytes : varve_bytes_of(block + 1);
  memcpy((char*)buffer + (from - offset), page + (from - varve_bytes_of(block)), end - from);
  return end;
}

/* Reads at most VARVE_READ_BLOCKS blocks' worth. Bytes read (0 at the end of the file), or -errno.
 * When the disk is full and a block can't be kept, the count may be short of `bytes` without being
 * the end. */
static inline int64_t varve_read_some(const struct varve_env* env, struct varve_entry* entry,
                                      int fd, void* buffer, uint64_t bytes, uint64_t offset,
                                      uint32_t ahead) {
  const uint64_t first = offset / VARVE_BLOCK_SIZE;
  uint32_t seen[VARVE_READ_BLOCKS];
  for (int shortened = 0;;) {
    const uint64_t base = varve_head_base(varve_load64(&entry->head));
    uint64_t end = (offset + bytes + VARVE_BLOCK_SIZE - 1) / VARVE_BLOCK_SIZE;
    if (end > base) end = base; /* what lies above is local */
    uint64_t b = first;
    for (; b < end; ++b) {
      seen[b - first] = varve_load32(varve_block_word(env->arena, entry, (uint32_t)b));
      if (!VARVE_ARENA_RULE(read_wants_present,
                            varve_word_state(seen[b - first]) == VARVE_BLOCK_PRESENT))
        break;
    }
    if (b < end) {
      const uint8_t* page = NULL;
      const uint32_t rest = (uint32_t)(end - b) - 1;
      const int step =
          varve_fetch_block(env, entry, fd, (uint32_t)b, rest > ahead ? rest : ahead, &page);
      if (step < 0) return step;
      if (step == VARVE_FETCHED_AGAIN) continue;
      if (b == first) return (int64_t)(varve_copy_direct(buffer, bytes, offset, b, page) - offset);
      bytes = varve_bytes_of(b) - offset; /* first what lies in front of it */
      continue;
    }
    const int64_t got = env->pread(env->context, fd, buffer, bytes, offset);
    for (b = first; b < end; ++b) {
      if (varve_load32(varve_block_word(env->arena, entry, (uint32_t)b)) != seen[b - first]) break;
    }
    if (!VARVE_ARENA_RULE(read_looks_again, b >= end)) continue; /* punched while we read */
    if (got < 0 || (uint64_t)got == bytes) return got;
    const uint64_t now = varve_load64(&entry->head);
    if (varve_head_dead(now) || varve_is_local(now, (offset + (uint64_t)got) / VARVE_BLOCK_SIZE))
      return got;
    /* The file ends where storage has blocks: somebody is truncating it, or died while he was. */
    if (++shortened > 3) return -EIO;
    varve_lock(env, entry);
    varve_unlock(env, entry);
  }
}

/* pread(2) of a lazy file: all of it up to the end of the file, or -errno. `ahead`: blocks to fetch
 * beyond the range when something is missing anyway. */
static inline int64_t varve_read(const struct varve_env* env, struct varve_entry* entry, int fd,
                                 void* buffer, uint64_t bytes, uint64_t offset, uint32_t ahead) {
  uint64_t done = 0;
  while (done < bytes) {
    const uint64_t at = offset + done;
    uint64_t some = bytes - done;
    const uint64_t most = varve_bytes_of(VARVE_READ_BLOCKS) - at % VARVE_BLOCK_SIZE;
    if (some > most) some = most;
    const int64_t got = varve_read_some(env, entry, fd, (char*)buffer + done, some, at, ahead);
    if (got < 0) return got;
    if (got == 0) break;
    done += (uint64_t)got;
  }
  return (int64_t)done;
}

/* Makes [first, first + blocks) present, as far as it lies below the base, for a reader that goes
 * past the shim. 0, or an errno (ENOSPC when the disk takes no page). */
static inline int varve_materialise(const struct varve_env* env, struct varve_entry* entry, int fd,
                                    uint32_t first, uint32_t blocks) {
  for (uint64_t b = first; b < (uint64_t)first + blocks;) {
    const uint64_t head = varve_load64(&entry->head);
    if (varve_is_local(head, b)) return 0;
    if (varve_word_state(varve_load32(varve_block_word(env->arena, entry, (uint32_t)b))) ==
        VARVE_BLOCK_PRESENT) {
      ++b;
      continue;
    }
    const uint8_t* page = NULL;
    const int step = varve_fetch_block(env, entry, fd, (uint32_t)b, VARVE_FETCH_BLOCKS, &page);
    if (step < 0) return -step;
    if (step == VARVE_FETCHED_DIRECT) return ENOSPC;
  }
  return 0;
}

/* ---- writing
 * -------------------------------------------------------------------------------------------- */

/* Is the block at byte `at` one whose missing rest a partial write needs first? */
static inline int varve_edge_missing(const struct varve_env* env, struct varve_entry* entry,
                                     uint64_t at) {
  const uint64_t block = at / VARVE_BLOCK_SIZE;
  if (at % VARVE_BLOCK_SIZE == 0 || varve_is_local(varve_load64(&entry->head), block)) return 0;
  return varve_word_state(varve_load32(varve_block_word(env->arena, entry, (uint32_t)block))) !=
         VARVE_BLOCK_PRESENT;
}

/* pwrite(2) of a lazy file. Bytes written, or -errno. A short write ends at a block's edge when the
 * block that it would have torn was missing. */
static inline int64_t varve_write(const struct varve_env* env, struct varve_entry* entry, int fd,
                                  const void* buffer, uint64_t bytes, uint64_t offset) {
  const uint64_t edges[2] = {offset, offset + bytes};
  if (bytes == 0) return 0;
  varve_lock(env, entry);
  for (int i = 0; i < 2;) {
    if (VARVE_ARENA_RULE(write_fetches_edges, varve_head_dead(varve_load64(&entry->head)) ||
                                                  !varve_edge_missing(env, entry, edges[i]))) {
      ++i;
      continue;
    }
    varve_unlock(env, entry); /* never fetch under the lock */
    const int error = varve_materialise(env, entry, fd, (uint32_t)(edges[i] / VARVE_BLOCK_SIZE), 1);
    if (error != 0) return -error;
    varve_lock(env, entry);
    i = 0;
  }
  const uint64_t head = varve_load64(&entry->head);
  int64_t written = env->pwrite(env->context, fd, buffer, bytes, offset);
  if (written > 0 && !varve_head_dead(head)) {
    uint64_t b = offset / VARVE_BLOCK_SIZE;
    for (; varve_bytes_of(b) < offset + (uint64_t)written && !varve_is_local(head, b); ++b) {
      uint32_t* word = varve_block_word(env->arena, entry, (uint32_t)b);
      const uint32_t now = varve_load32(word);
      if (varve_word_state(now) == VARVE_BLOCK_PRESENT) continue;
      if (varve_bytes_of(b + 1) > offset + (uint64_t)written) { /* torn, and its rest is not here */
        written = (int64_t)(varve_bytes_of(b) - offset);
        break;
      }
      if (VARVE_ARENA_RULE(write_marks_present, 0)) continue;
      varve_word_set(env, word, varve_word(VARVE_BLOCK_PRESENT, varve_word_version(now)));
    }
    if (written == 0) written = -ENOSPC;
  }
  varve_unlock(env, entry);
  return written;
}

/* ftruncate(2) and truncate(2) of a lazy file. 0 or an errno: EINVAL when `bytes` is no multiple of
 * the block size, which Postgres never asks for; ESTALE when the entry is dead, so that the
 * caller's file is a local one. Never waits for storage. */
static inline int varve_truncate(const struct varve_env* env, struct varve_entry* entry,
                                 uint64_t bytes) {
  const uint64_t blocks = bytes / VARVE_BLOCK_SIZE;
  if (bytes % VARVE_BLOCK_SIZE != 0 || blocks > VARVE_SEGMENT_BLOCKS) return EINVAL;
  varve_lock(env, entry);
  const uint64_t head = varve_load64(&entry->head);
  const uint32_t base = varve_head_base(head);
  const uint32_t generation = varve_head_generation(head);
  if (varve_head_dead(head)) {
    varve_unlock(env, entry);
    return ESTALE;
  }
  varve_store64(&entry->intent, varve_intent(VARVE_INTENT_TRUNCATE, (uint32_t)blocks, generation));
  const int error = env->truncate(env->context, entry->path, bytes);
  if (error == 0) {
    const uint32_t left =
        VARVE_ARENA_RULE(truncate_lowers_base, blocks > base) ? base : (uint32_t)blocks;
    varve_store64(&entry->head, varve_head(generation + 1, 0, left));
  }
  varve_store64(&entry->intent, 0);
  varve_unlock(env, entry);
  return error;
}

/* unlink(2) of a lazy file. 0 or an errno. Never waits for storage. */
static inline int varve_unlink(const struct varve_env* env, struct varve_entry* entry) {
  varve_lock(env, entry);
  const uint64_t head = varve_load64(&entry->head);
  int error;
  if (varve_head_dead(head)) { /* another file of that name, wholly local */
    error = env->unlink(env->context, entry->path);
  } else {
    varve_store64(&entry->intent,
                  varve_intent(VARVE_INTENT_UNLINK, 0, varve_head_generation(head)));
    error = env->unlink(env->context, entry->path);
    if (error == 0) {
      varve_store64(&entry->head,
                    varve_head(varve_head_generation(head) + 1, 1, varve_head_base(head)));
    }
    varve_store64(&entry->intent, 0);
  }
  varve_unlock(env, entry);
  return error;
}

/* ---- giving up a clean block
 * ---------------------------------------------------------------------------- */

/* Makes present blocks of [first, first + blocks) missing again and frees their space. Only the
 * agent, and only for blocks of which storage holds at least what the file does (the caller's rule;
 * `clean` asks it under the lock). `fd` belongs to this file. Blocks punched, or -errno. */
static inline int varve_punch(const struct varve_env* env, struct varve_entry* entry, int fd,
                              uint32_t first, uint32_t blocks,
                              int (*clean)(void*, const struct varve_entry*, uint32_t)) {
  int punched = 0;
  varve_lock(env, entry);
  const uint64_t head = varve_load64(&entry->head);
  const int allowed = !varve_head_dead(head) && varve_load32(&entry->pinned) == 0;
  for (uint32_t b = first; allowed && b < first + blocks && !varve_is_local(head, b); ++b) {
    uint32_t* word = varve_block_word(env->arena, entry, b);
    const uint32_t now = varve_load32(word);
    if (varve_word_state(now) != VARVE_BLOCK_PRESENT || !clean(env->context, entry, b)) continue;
    /* First the word, then the hole: a reader in between finds a new version and comes again. */
    const uint32_t step = VARVE_ARENA_RULE(punch_changes_version, 0) ? 0 : 1;
    varve_word_set(env, word, varve_word(VARVE_BLOCK_MISSING, varve_word_version(now) + step));
    const int error = env->punch(env->context, fd, b, 1);
    if (error != 0) {
      varve_unlock(env, entry);
      return -error;
    }
    ++punched;
  }
  varve_unlock(env, entry);
  return punched;
}

#ifdef __cplusplus
}
#endif
