#include "wire/pg/command.h"

#include <charconv>

namespace varve::pg {
namespace {

constexpr size_t kMaxTokens = 1000;

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_symbol(char c) {
  return std::string_view("(),=;.").find(c) != std::string_view::npos;
}
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '/' || c == '-' || c == '+' || c == '$' || static_cast<uint8_t>(c) >= 0x80;
}
char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// The text from behind the quote at `i`; `i` moves behind the closing one. Nothing if there is
// none.
std::optional<std::string> quoted(std::string_view text, size_t& i) {
  const char quote = text[i];
  std::string content;
  for (size_t j = i + 1; j < text.size(); ++j) {
    if (text[j] != quote) {
      content += text[j];
    } else if (j + 1 < text.size() && text[j + 1] == quote) {
      content += quote;
      ++j;
    } else {
      i = j + 1;
      return content;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view command) {
  std::vector<Token> tokens;
  size_t i = 0;
  while (i < command.size()) {
    const char c = command[i];
    if (is_blank(c)) {
      ++i;
      continue;
    }
    if (tokens.size() == kMaxTokens) return Status(Code::kInvalid, "a command has too many words");
    if (c == '\'' || c == '"') {
      std::optional<std::string> content = quoted(command, i);
      if (!content) return Status(Code::kInvalid, "a quote in the command is never closed");
      tokens.push_back(
          {c == '"' ? TokenKind::kIdentifier : TokenKind::kString, std::move(*content)});
    } else if (is_symbol(c)) {
      tokens.push_back({TokenKind::kSymbol, std::string(1, c)});
      ++i;
    } else if (is_word(c)) {
      const size_t start = i;
      while (i < command.size() && is_word(command[i])) ++i;
      tokens.push_back({TokenKind::kWord, std::string(command.substr(start, i - start))});
    } else {
      return Status(Code::kInvalid, "character " + std::to_string(static_cast<uint8_t>(c)) +
                                        " has no meaning in a command");
    }
  }
  return tokens;
}

bool TokenReader::take_word(std::string_view word) {
  const Token* token = peek();
  if (token == nullptr || token->kind != TokenKind::kWord || token->text.size() != word.size()) {
    return false;
  }
  for (size_t i = 0; i < word.size(); ++i) {
    if (lower(token->text[i]) != lower(word[i])) return false;
  }
  ++next_;
  return true;
}

bool TokenReader::take_symbol(char symbol) {
  const Token* token = peek();
  if (token == nullptr || token->kind != TokenKind::kSymbol || token->text[0] != symbol)
    return false;
  ++next_;
  return true;
}

std::optional<std::string> TokenReader::take_text() {
  const Token* token = peek();
  if (token == nullptr || token->kind == TokenKind::kSymbol) return std::nullopt;
  ++next_;
  return token->text;
}

std::optional<Lsn> TokenReader::take_lsn() {
  const Token* token = peek();
  if (token == nullptr || token->kind == TokenKind::kSymbol) return std::nullopt;
  const std::optional<Lsn> lsn = Lsn::parse(token->text);
  if (lsn) ++next_;
  return lsn;
}

std::optional<uint64_t> TokenReader::take_number() {
  const Token* token = peek();
  if (token == nullptr || token->kind == TokenKind::kSymbol) return std::nullopt;
  uint64_t number = 0;
  const char* end = token->text.data() + token->text.size();
  const auto [stop, error] = std::from_chars(token->text.data(), end, number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  ++next_;
  return number;
}

bool TokenReader::at_end() {
  while (take_symbol(';')) {
  }
  return peek() == nullptr;
}

Result<std::vector<std::pair<std::string, std::string>>> TokenReader::take_options() {
  std::vector<std::pair<std::string, std::string>> options;
  if (!take_symbol('(')) return options;
  if (take_symbol(')')) return options;
  while (true) {
    const std::optional<std::string> name = take_text();
    if (!name) return Status(Code::kInvalid, "an option's name is missing at " + describe_next());
    (void)take_symbol('=');
    // A value may be left out, as in Postgres: the option is then simply on.
    options.emplace_back(*name, take_text().value_or("true"));
    if (take_symbol(')')) return options;
    if (!take_symbol(',')) return Status(Code::kInvalid, "expected , or ) at " + describe_next());
  }
}

std::string TokenReader::describe_next() const {
  const Token* token = peek();
  return token == nullptr ? "the end of the command" : "'" + token->text + "'";
}

Result<StartReplication> parse_start_replication(TokenReader& reader) {
  StartReplication command;
  if (reader.take_word("SLOT")) {
    const std::optional<std::string> slot = reader.take_text();
    if (!slot)
      return Status(Code::kInvalid, "a slot's name is missing at " + reader.describe_next());
    command.slot = *slot;
  }
  if (reader.take_word("LOGICAL")) {
    return Status(Code::kUnsupported, "logical replication is not served here");
  }
  (void)reader.take_word("PHYSICAL");
  const std::optional<Lsn> start = reader.take_lsn();
  if (!start) {
    return Status(Code::kInvalid,
                  "expected a position such as 0/3000000 at " + reader.describe_next());
  }
  command.start = *start;
  if (reader.take_word("TIMELINE")) {
    const std::optional<uint64_t> timeline = reader.take_number();
    if (!timeline || *timeline == 0 || *timeline > UINT32_MAX) {
      return Status(Code::kInvalid, "expected a timeline's number at " + reader.describe_next());
    }
    command.timeline = static_cast<uint32_t>(*timeline);
  }
  VARVE_TRY_ASSIGN(command.options, reader.take_options());
  if (!reader.at_end())
    return Status(Code::kInvalid, "nothing is expected at " + reader.describe_next());
  return command;
}

}  // namespace varve::pg
