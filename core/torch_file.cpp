#include "core/torch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/input_file.h"
#include "core/protobuf.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;
using protobuf::little_endian;

struct StorageType {
  const char* name;  // of the class in the module torch
  DType dtype;       // of the tensor in memory
  uint64_t bytes;    // of an element in the file
};
constexpr const char* kHalf = "HalfStorage";  // read alone
constexpr StorageType kTypes[] = {{"FloatStorage", DType::f32, 4},     {"DoubleStorage", DType::f64, 8},
                                  {"BFloat16Storage", DType::bf16, 2}, {kHalf, DType::f32, 2},
                                  {"LongStorage", DType::i64, 8},      {"IntStorage", DType::i32, 4},
                                  {"ByteStorage", DType::u8, 1}};

// -- the archive

constexpr uint32_t kLocalFile = 0x04034b50, kCentralFile = 0x02014b50, kEndOfCentral = 0x06054b50;
constexpr uint32_t kOldForm = 0x0a8a0280;  // a pickle of a number of ten bytes
constexpr size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22;
constexpr uint64_t kAlignment = 64;  // of elements, so that they can be mapped into memory
constexpr const char* kFolder = "archive/";

uint32_t crc32(const void* data, size_t bytes) {
  static constexpr std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      table[i] = i;
      for (int bit = 0; bit < 8; ++bit) table[i] = table[i] >> 1 ^ (table[i] & 1u ? 0xedb88320u : 0u);
    }
    return table;
  }();
  uint32_t crc = ~0u;
  for (const auto* p = static_cast<const uint8_t*>(data); bytes > 0; --bytes)
    crc = kTable[(crc ^ *p++) & 255u] ^ crc >> 8;
  return ~crc;
}

struct Part {
  std::string name;
  const void* data;
  size_t bytes;
};

void write_archive(const fs::path& path, const std::vector<Part>& parts) {
  constexpr uint64_t kMost = UINT32_MAX;
  uint64_t all = 0;
  for (const Part& part : parts) all += part.bytes + 2 * (part.name.size() + kAlignment) + kCentralBytes + kLocalBytes;
  if (all > kMost) throw Error("{}: a file of {} bytes: expected less than 4 GiB", path.string(), all);
  if (parts.size() >= UINT16_MAX)
    throw Error("{}: {} tensors: expected fewer than 65,000", path.string(), parts.size());
  const auto half = [](size_t v) { return little_endian(static_cast<uint16_t>(v)); };
  const auto word = [](uint64_t v) { return little_endian(static_cast<uint32_t>(v)); };
  AtomicFile out(path);
  std::string central;
  uint64_t at = 0;
  for (const Part& part : parts) {
    const uint64_t header = kLocalBytes + part.name.size() + 4;  // 4: of the extra field that aligns the elements
    const uint64_t padding = (kAlignment - (at + header) % kAlignment) % kAlignment;
    // Version, flags, method (stored), time and date (the first that there is), checksum, sizes.
    const std::string facts = half(0) + half(0) + half(0) + half(0x21) + word(crc32(part.data, part.bytes)) +
                              word(part.bytes) + word(part.bytes) + half(part.name.size());
    out.write(word(kLocalFile) + half(20) + facts + half(4 + padding) + part.name + "FB" + half(padding) +
              std::string(padding, 'Z'));
    out.write(part.data, part.bytes);
    central += word(kCentralFile) + half(20) + half(20) + facts + half(0) + half(0) + half(0) + half(0) + word(0) +
               word(at) + part.name;
    at += header + padding + part.bytes;
  }
  out.write(central);
  out.write(word(kEndOfCentral) + half(0) + half(0) + half(parts.size()) + half(parts.size()) + word(central.size()) +
            word(at) + half(0));
  out.commit();
}

class Archive {
 public:
  explicit Archive(const fs::path& path) : input_(path, "file of torch.save") {
    const auto fail = [&](const char* what) { return Error("{}: not a file of torch.save: {}", input_.path(), what); };
    const uint64_t tail = std::min<uint64_t>(input_.size(), kEndBytes + UINT16_MAX);
    const std::string end = bytes(input_.size() - tail, tail);
    const size_t found = end.rfind(std::string_view("PK\5\6", 4));
    if (found == std::string::npos || end.size() - found < kEndBytes) throw fail("its archive has no directory");
    const size_t count = number(end, found + 10, 2);
    const uint64_t size = number(end, found + 12, 4), begin = number(end, found + 16, 4);
    if (count == UINT16_MAX || begin == UINT32_MAX) throw fail("it is of 4 GiB or more");
    if (begin > input_.size() || size > input_.size() - begin) throw fail("its archive is cut short");
    const std::string central = bytes(begin, size);
    for (size_t i = 0, at = 0; i < count; ++i) {
      if (central.size() - at < kCentralBytes || number(central, at, 4) != kCentralFile)
        throw fail("its archive's directory is damaged");
      const size_t name = number(central, at + 28, 2), rest = number(central, at + 30, 2) + number(central, at + 32, 2);
      if (central.size() - at - kCentralBytes < name + rest) throw fail("its archive's directory is cut short");
      const Entry entry{number(central, at + 42, 4), number(central, at + 24, 4),
                        static_cast<uint32_t>(number(central, at + 16, 4)), number(central, at + 10, 2) == 0};
      entries_[central.substr(at + kCentralBytes, name)] = entry;
      at += kCentralBytes + name + rest;
    }
    for (const auto& [name, entry] : entries_)
      if (name.ends_with("/data.pkl")) folder_ = name.substr(0, name.size() - 8);
    if (folder_.empty()) throw fail("its archive holds no data.pkl");
  }

  const std::string& path() const { return input_.path(); }
  /// A file of the archive, below its one folder.
  std::string read(const std::string& name) const {
    const auto found = entries_.find(folder_ + name);
    const auto fail = [&](const char* what) { return Error("{}: {} of its archive {}", path(), name, what); };
    if (found == entries_.end()) throw fail("is missing");
    const Entry& entry = found->second;
    if (!entry.stored) throw fail("is compressed, which torch.save does not do");
    const uint64_t end = input_.size();
    if (entry.offset > end || end - entry.offset < kLocalBytes) throw fail("lies outside of it");
    const std::string local = bytes(entry.offset, kLocalBytes);
    const uint64_t begin = entry.offset + kLocalBytes + number(local, 26, 2) + number(local, 28, 2);
    if (begin > end || entry.bytes > end - begin) throw fail("lies outside of it");
    std::string content = bytes(begin, entry.bytes);
    if (crc32(content.data(), content.size()) != entry.checksum) throw fail("is damaged: its checksum differs");
    return content;
  }

 private:
  struct Entry {
    uint64_t offset, bytes;
    uint32_t checksum;
    bool stored;
  };
  std::string bytes(uint64_t offset, uint64_t count) const {
    std::string all(count, '\0');
    input_.read(offset, all.data(), count);
    return all;
  }
  static uint64_t number(const std::string& text, size_t at, size_t bytes) {
    uint64_t value = 0;
    std::memcpy(&value, text.data() + at, bytes);
    return value;
  }

  InputFile input_;
  std::string folder_;
  std::map<std::string, Entry> entries_;
};

// -- the pickle, written

std::string text(std::string_view s) {
  return std::string("X").append(little_endian(static_cast<uint32_t>(s.size()))).append(s);
}
std::string integer(int64_t v) {
  if (v >= 0 && v < 256) return {'K', static_cast<char>(v)};
  if (v >= INT32_MIN && v <= INT32_MAX) return std::string("J").append(little_endian(static_cast<int32_t>(v)));
  return std::string("\x8a\x08").append(little_endian(v));
}
std::string tuple(std::span<const int64_t> values) {
  std::string all = "(";
  for (const int64_t v : values) all += integer(v);
  return all + "t";
}
const std::string kOrderedDict = "ccollections\nOrderedDict\n)R";

// -- the pickle, read

struct Item {
  enum class Kind { mark, none, integer, text, list, dict, global, storage, tensor };
  Kind kind = Kind::none;
  int64_t number = 0;                       // also true and false
  std::string text;                         // also "module name" of a global
  std::vector<Item> items = {};             // of a list or tuple; of a dict: key, value, key, value, ...
  const StorageType* type = nullptr;        // of a storage
  std::shared_ptr<const std::string> data;  // likewise
  Tensor tensor = {};
  int depth = 0;     // of the items within items
  size_t count = 1;  // itself and they

  const char* name() const {
    constexpr const char* kNames[] = {"a mark", "None",       "a number",  "a text",  "a list",
                                      "a dict", "a function", "a storage", "a tensor"};
    return kNames[static_cast<size_t>(kind)];
  }
};

class Unpickler {
 public:
  explicit Unpickler(const Archive& archive) : archive_(archive), pickle_(archive.read("data.pkl")) {}

  Item run() {
    while (true) {
      const auto op = static_cast<unsigned char>(take(1)[0]);
      if (op == '.') return pop();
      step(op);
    }
  }

 private:
  using Kind = Item::Kind;
  static constexpr int kMostDepth = 100;
  static constexpr size_t kMostMade = 1 << 22;

  template <class... Args>
  Error fail(fmt::format_string<Args...> format, Args&&... args) const {
    return Error("{}: not a state dict of torch.save: {}", archive_.path(),
                 fmt::format(format, std::forward<Args>(args)...));
  }
  std::string take(uint64_t bytes) {
    if (bytes > pickle_.size() - at_) throw fail("its pickle is cut short");
    at_ += bytes;
    return pickle_.substr(at_ - bytes, bytes);
  }
  std::string line() {
    const size_t end = pickle_.find('\n', at_);
    if (end == std::string::npos) throw fail("its pickle is cut short");
    const std::string found = take(end - at_);
    ++at_;
    return found;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  void push(Item item) {
    // What is remembered is copied whole: a pickle that says so can double what it makes with every few bytes.
    made_ += item.count;
    if (made_ > kMostMade + pickle_.size()) throw fail("its pickle repeats itself beyond measure");
    stack_.push_back(std::move(item));
  }
  // `owner` has got `item` among its own.
  void count_in(Item& owner, const Item& item) {
    owner.depth = std::max(owner.depth, item.depth + 1);
    owner.count += item.count;
    if (owner.depth > kMostDepth) throw fail("its pickle is nested deeper than {}", kMostDepth);
  }
  Item pop() {
    if (stack_.empty() || stack_.back().kind == Kind::mark) throw fail("its pickle takes what it has not made");
    Item item = std::move(stack_.back());
    stack_.pop_back();
    return item;
  }
  Item& top(Kind kind) {
    if (stack_.empty() || stack_.back().kind != kind) throw fail("its pickle takes what it has not made");
    return stack_.back();
  }
  std::vector<Item> pop_to_mark() {
    size_t begin = stack_.size();
    while (begin > 0 && stack_[begin - 1].kind != Kind::mark) --begin;
    if (begin == 0) throw fail("its pickle takes what it has not made");
    std::vector<Item> items(std::make_move_iterator(stack_.begin() + static_cast<std::ptrdiff_t>(begin)),
                            std::make_move_iterator(stack_.end()));
    stack_.resize(begin - 1);
    return items;
  }
  void push_number(int64_t value) { push({.kind = Kind::integer, .number = value, .text = {}, .data = {}}); }
  void push_text(std::string value) { push({.kind = Kind::text, .text = std::move(value), .data = {}}); }
  void push_list(std::vector<Item> items, Kind kind = Kind::list) {
    Item list{.kind = kind, .text = {}, .data = {}};
    for (const Item& item : items) count_in(list, item);
    list.items = std::move(items);
    push(std::move(list));
  }
  void append_to(Kind kind, std::vector<Item> more) {
    Item& list = top(kind);
    for (const Item& item : more) count_in(list, item);
    std::move(more.begin(), more.end(), std::back_inserter(list.items));
  }
  void push_last(size_t count) {
    std::vector<Item> items(count);
    while (count > 0) items[--count] = pop();
    push_list(std::move(items));
  }

  void step(unsigned char op) {
    switch (op) {
      case 0x80:  // PROTO
        take(1);
        return;
      case '(':
        return push({.kind = Kind::mark, .text = {}, .data = {}});
      case ')':
      case ']':
        return push_list({});
      case '}':
        return push_list({}, Kind::dict);
      case 'N':
        return push({.text = {}, .data = {}});
      case 0x88:
      case 0x89:  // True, False
        return push_number(op == 0x88);
      case 'K':
        return push_number(number<uint8_t>());
      case 'M':
        return push_number(number<uint16_t>());
      case 'J':
        return push_number(number<int32_t>());
      case 0x8a: {  // LONG1
        const std::string digits = take(number<uint8_t>());
        if (digits.size() > 8) throw fail("a number of {} bytes", digits.size());
        int64_t value = !digits.empty() && (digits.back() & 0x80) ? -1 : 0;
        std::memcpy(&value, digits.data(), digits.size());
        return push_number(value);
      }
      case 'G':  // a double: of what stands beside the tensors
        take(8);
        return push({.text = {}, .data = {}});
      case 'X':
        return push_text(take(number<uint32_t>()));
      case 0x8c:  // SHORT_BINUNICODE
        return push_text(take(number<uint8_t>()));
      case 't':
        return push_list(pop_to_mark());
      case 0x85:
      case 0x86:
      case 0x87:  // tuples of 1, 2, 3
        return push_last(op - 0x84u);
      case 'a': {
        Item item = pop();
        return append_to(Kind::list, {std::move(item)});
      }
      case 'e':
        return append_to(Kind::list, pop_to_mark());
      case 's': {
        push_last(2);
        std::vector<Item> pair = pop().items;
        return append_to(Kind::dict, std::move(pair));
      }
      case 'u':
        return append_to(Kind::dict, pop_to_mark());
      case 'q':
        memo_[number<uint8_t>()] = stack_.empty() ? pop() : stack_.back();
        return;
      case 'r':
        memo_[number<uint32_t>()] = stack_.empty() ? pop() : stack_.back();
        return;
      case 0x94: {  // MEMOIZE
        const auto next = static_cast<uint32_t>(memo_.size());
        memo_[next] = stack_.empty() ? pop() : stack_.back();
        return;
      }
      case 'h':
        return recall(number<uint8_t>());
      case 'j':
        return recall(number<uint32_t>());
      case 'c': {
        const std::string module = line();
        return push_global(module + " " + line());
      }
      case 'Q':
        return push_storage(pop());
      case 'R': {
        const Item arguments = pop(), function = pop();
        return call(function, arguments.items);
      }
      case 'b':  // attributes, of a dict: state_dict()'s versions of its modules
        pop();
        top(Kind::dict);
        return;
      default:
        throw fail("its pickle has the operation 0x{:02x}, which makes no tensor", op);
    }
  }
  void recall(uint32_t index) {
    const auto known = memo_.find(index);
    if (known == memo_.end()) throw fail("its pickle takes what it has not made");
    push(known->second);
  }

  void push_global(const std::string& name) {
    const bool storage = std::any_of(std::begin(kTypes), std::end(kTypes),
                                     [&](const StorageType& t) { return name == std::string("torch ") + t.name; });
    if (!storage && name != "collections OrderedDict" && name != "torch._utils _rebuild_tensor_v2" &&
        name != "torch._utils _rebuild_parameter")
      throw fail("its pickle asks for '{}', which makes no tensor", name);
    push({.kind = Kind::global, .text = name, .data = {}});
  }

  // ("storage", class, key, device, elements)
  void push_storage(const Item& id) {
    const std::vector<Item>& of = id.items;
    if (of.size() != 5 || of[1].kind != Kind::global || of[2].kind != Kind::text || of[4].kind != Kind::integer)
      throw fail("a storage of another form");
    const auto type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const StorageType& t) { return of[1].text == std::string("torch ") + t.name; });
    if (type == std::end(kTypes)) throw fail("a storage of '{}'", of[1].text);
    auto& data = storages_[of[2].text];
    if (!data) data = std::make_shared<const std::string>(archive_.read("data/" + of[2].text));
    push({.kind = Kind::storage, .text = {}, .type = type, .data = data});
  }

  void call(const Item& function, const std::vector<Item>& arguments) {
    if (function.kind != Kind::global) throw fail("its pickle calls {}", function.name());
    if (function.text == "collections OrderedDict") {
      if (!arguments.empty()) throw fail("an OrderedDict made of a list");
      return push_list({}, Kind::dict);
    }
    if (function.text == "torch._utils _rebuild_parameter") {
      if (arguments.empty() || arguments[0].kind != Kind::tensor) throw fail("a parameter of no tensor");
      return push(arguments[0]);
    }
    if (function.text != "torch._utils _rebuild_tensor_v2") throw fail("its pickle calls '{}'", function.text);
    if (arguments.size() < 4 || arguments[0].kind != Kind::storage || arguments[1].kind != Kind::integer)
      throw fail("a tensor of another form");
    Item made{.kind = Kind::tensor, .text = {}, .data = {}};
    made.tensor = tensor(arguments[0], arguments[1].number, arguments[2].items, arguments[3].items);
    push(std::move(made));
  }

  Tensor tensor(const Item& storage, int64_t offset, const std::vector<Item>& size, const std::vector<Item>& stride) {
    const uint64_t bytes = storage.type->bytes;
    const auto elements = static_cast<int64_t>(storage.data->size() / bytes);
    if (size.size() != stride.size() || size.size() > Dims::kMaxRank)
      throw fail("a tensor of {} axes: expected a rank up to {}", size.size(), Dims::kMaxRank);
    Dims shape = Dims::filled(static_cast<int>(size.size()), 0);
    int64_t last = offset, count = 1;  // what the tensor reads lies in the storage, so that it is no larger
    bool fits = offset >= 0 && offset <= elements;
    for (size_t i = 0; fits && i < size.size(); ++i) {
      const int64_t n = size[i].number, s = stride[i].number;
      int64_t reach = 0;
      fits = n >= 0 && s >= 0 && !__builtin_mul_overflow(std::max<int64_t>(n - 1, 0), s, &reach) &&
             !__builtin_add_overflow(last, reach, &last) && !__builtin_mul_overflow(count, n, &count);
      shape[static_cast<int>(i)] = n;
    }
    if (!fits || (count > 0 && last >= elements) || count > elements)
      throw fail("a tensor that its storage of {} elements does not hold", elements);
    const Tensor t = Tensor::empty(shape, {.dtype = storage.type->dtype});
    auto* to = static_cast<char*>(t.mutable_raw());
    std::vector<int64_t> index(size.size(), 0);
    for (int64_t i = 0; i < count; ++i) {
      int64_t at = offset;
      for (size_t a = 0; a < index.size(); ++a) at += index[a] * stride[a].number;
      const char* from = storage.data->data() + static_cast<uint64_t>(at) * bytes;
      if (storage.type->name == kHalf) {
        uint16_t half = 0;
        std::memcpy(&half, from, sizeof half);
        const float value = float_from_half(half);
        std::memcpy(to + i * 4, &value, sizeof value);
      } else {
        std::memcpy(to + static_cast<uint64_t>(i) * bytes, from, bytes);
      }
      for (size_t a = index.size(); a-- > 0;) {
        if (++index[a] < size[a].number) break;
        index[a] = 0;
      }
    }
    return t;
  }

  const Archive& archive_;
  std::string pickle_;
  size_t at_ = 0, made_ = 0;  // made: items, those within others too
  std::vector<Item> stack_;
  std::map<uint32_t, Item> memo_;
  std::map<std::string, std::shared_ptr<const std::string>> storages_;
};

}  // namespace

bool is_torch_file(const fs::path& path) {
  const InputFile input(path, "file of weights");
  uint32_t magic = 0;
  if (input.size() >= sizeof magic) input.read(0, &magic, sizeof magic);
  if (magic == kOldForm)
    throw Error(
        "{}: a file of torch.save as before PyTorch 1.6; torch.save(torch.load(FILE), FILE) writes today's form",
        path.string());
  return magic == kLocalFile;
}

SafetensorsFile read_torch_file(const fs::path& path) {
  const Archive archive(path);
  const Item root = Unpickler(archive).run();
  if (root.kind != Item::Kind::dict)
    throw Error("{}: expected a state dict, tensors by name, got {}", path.string(), root.name());
  SafetensorsFile file;
  for (size_t i = 0; i + 1 < root.items.size(); i += 2) {
    const Item &key = root.items[i], &value = root.items[i + 1];
    if (key.kind != Item::Kind::text || value.kind != Item::Kind::tensor)
      throw Error("{}: expected a state dict, tensors by name, got {} named {}", path.string(), value.name(),
                  key.kind == Item::Kind::text ? "'" + key.text + "'" : key.name());
    file.tensors[key.text] = value.tensor;
  }
  return file;
}

void write_torch_file(const fs::path& path, const SafetensorsFile& file) {
  std::string pickle = std::string("\x80\x02").append(kOrderedDict).append("(");
  std::vector<Tensor> kept;
  for (const auto& [name, tensor] : file.tensors) {
    const auto type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const StorageType& t) { return t.dtype == tensor.dtype(); });
    const Dims& shape = tensor.shape();
    const Dims strides = dense_strides(shape, MemoryFormat::plain);
    const std::string storage = std::string("(").append(text("storage")) + "ctorch\n" + type->name + "\n" +
                                text(std::to_string(kept.size())) + text("cpu") + integer(tensor.numel()) + "tQ";
    pickle += text(name) + "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + integer(0) +
              tuple(std::span(shape.begin(), shape.end())) + tuple(std::span(strides.begin(), strides.end())) + "\x89" +
              kOrderedDict + "tR";
    kept.push_back(tensor.to(kCpu).contiguous(MemoryFormat::plain));
  }
  pickle += "u}" + text("metadata") + "}(";
  for (const auto& [key, value] : file.metadata) pickle += text(key) + text(value);
  pickle += "usb.";
  std::vector<Part> parts{{std::string(kFolder) + "data.pkl", pickle.data(), pickle.size()}};
  constexpr std::string_view kByteOrder = "little", kVersion = "3\n";
  parts.push_back({std::string(kFolder) + "byteorder", kByteOrder.data(), kByteOrder.size()});
  for (size_t i = 0; i < kept.size(); ++i)
    parts.push_back({fmt::format("{}data/{}", kFolder, i), kept[i].raw(),
                     static_cast<size_t>(kept[i].numel()) * size_of(kept[i].dtype())});
  parts.push_back({std::string(kFolder) + "version", kVersion.data(), kVersion.size()});
  write_archive(path, parts);
}

}  // namespace tidepool
