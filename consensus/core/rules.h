// Planted bugs, for the tests that prove that the explorer can see. Production passes Rules{}, in
// which nothing is broken; every field here is one way in which careful people have got this
// protocol wrong.
#pragma once

namespace varve::consensus {

struct Rules {
  // One vote, greeting or acknowledgement fewer than a quorum is enough.
  bool quorum_off_by_one = false;
  // A vote is answered before its term is durable.
  bool vote_before_durable = false;
  // A position is committed when a quorum holds it, whichever term wrote it (Ongaro's figure 8).
  bool commit_by_counting = false;
  // A member that went its own way is not cut back to where the histories part.
  bool no_divergence_cut = false;
  // An acknowledgement leaves before the bytes are synced.
  bool acknowledge_before_sync = false;

  bool operator==(const Rules&) const = default;
};

}  // namespace varve::consensus
