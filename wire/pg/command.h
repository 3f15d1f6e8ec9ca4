// Replication commands ("START_REPLICATION SLOT x PHYSICAL 0/3000000 (term='4')") as words. The
// grammar of each command is its server's; this is the lexer that all share. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/lsn.h"
#include "base/status.h"

namespace varve::pg {

enum class TokenKind : uint8_t {
  kWord,        // keyword, name, number or position: START_REPLICATION, tli, 1, 0/3000000
  kIdentifier,  // "quoted", without the quotes, doubled ones resolved
  kString,      // 'quoted', likewise
  kSymbol,      // ( ) , = ; .
};

struct Token {
  TokenKind kind;
  std::string text;
  bool operator==(const Token&) const = default;
};

// Splits a command. Invalid for an unterminated quote or a character that no command has; at most
// 1,000 tokens.
Result<std::vector<Token>> tokenize(std::string_view command);

// Walks over tokens. Every function that takes something returns whether it was there and moves on
// only then.
class TokenReader {
 public:
  explicit TokenReader(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  // A word, compared without regard to case.
  bool take_word(std::string_view word);
  bool take_symbol(char symbol);
  // A word, identifier or string.
  std::optional<std::string> take_text();
  std::optional<Lsn> take_lsn();
  std::optional<uint64_t> take_number();
  // Nothing is left but semicolons.
  bool at_end();
  // "( name 'value', name = value )", in any mixture; nothing if the next token is no '('. Invalid
  // if it is malformed.
  Result<std::vector<std::pair<std::string, std::string>>> take_options();
  // Text of the next token, for messages.
  std::string describe_next() const;

 private:
  const Token* peek() const { return next_ < tokens_.size() ? &tokens_[next_] : nullptr; }
  std::vector<Token> tokens_;
  size_t next_ = 0;
};

struct StartReplication {
  std::string slot;  // empty: none
  Lsn start;
  uint32_t timeline = 0;  // 0: not given
  std::vector<std::pair<std::string, std::string>> options;
};
// START_REPLICATION [SLOT name] [PHYSICAL] X/X [TIMELINE n] [(options)], the reader standing behind
// the first word. Unsupported for LOGICAL, Invalid with what stands in the wrong place.
Result<StartReplication> parse_start_replication(TokenReader& reader);

}  // namespace varve::pg
