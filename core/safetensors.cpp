#include "core/safetensors.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/input_file.h"
#include "core/text.h"

namespace tidepool {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian, as is every machine we know");

constexpr uint64_t kLongestHeader = 100'000'000;  // as the reference implementation
constexpr const char* kMetadata = "__metadata__";

struct TypeName {
  const char* name;
  DType dtype;     // of the tensor in memory
  uint64_t bytes;  // of an element in the file
};
constexpr const char* kHalf = "F16";  // read alone
constexpr TypeName kTypes[] = {{"F32", DType::f32, 4}, {"F64", DType::f64, 8}, {"BF16", DType::bf16, 2},
                               {kHalf, DType::f32, 2}, {"I64", DType::i64, 8}, {"I32", DType::i32, 4},
                               {"U8", DType::u8, 1}};

const char* type_name(DType dtype) {
  for (const TypeName& t : kTypes)
    if (t.dtype == dtype) return t.name;
  return "?";
}

struct Entry {
  std::string name;
  const TypeName* type = nullptr;
  Dims shape;
  uint64_t begin = 0, end = 0;
};

json parse_header(const std::string& path, const std::string& text) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > 8) throw Error("{}: the header is nested deeper than a safetensors header is", path);
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(name).second) throw Error("{}: the header has '{}' twice", path, name);
    }
    return true;
  };
  if (const auto bad = first_bad_byte(text))  // the parser takes a NUL for the end
    throw Error("{}: the header is not UTF-8 text: byte {} is 0x{:02X}", path, *bad,
                static_cast<unsigned char>(text[*bad]));
  try {
    return json::parse(text, check);
  } catch (const json::exception& error) {
    std::string what = error.what();  // "[json.exception.parse_error.101] parse error at line 1, column 5: ..."
    if (const size_t bracket = what.find("] "); bracket != std::string::npos) what.erase(0, bracket + 2);
    throw Error("{}: the header is not JSON: {}", path, what);
  }
}

std::optional<uint64_t> as_count(const json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  return std::nullopt;
}

std::string brief(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

Entry parse_entry(const std::string& path, const std::string& name, const json& value, uint64_t data_bytes) {
  const auto fail = [&](const std::string& what) { return Error("{}: tensor '{}': {}", path, name, what); };
  if (!value.is_object()) throw fail(fmt::format("expected an object, got {}", brief(value)));
  for (const auto& [key, ignored] : value.items())
    if (key != "dtype" && key != "shape" && key != "data_offsets") throw fail(fmt::format("unknown key '{}'", key));
  for (const char* key : {"dtype", "shape", "data_offsets"})
    if (!value.contains(key)) throw fail(fmt::format("'{}' is missing", key));

  Entry entry;
  entry.name = name;
  const json& dtype = value["dtype"];
  const auto* type =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeName& t) { return dtype == t.name; });
  if (type == std::end(kTypes))
    throw fail(fmt::format("expected dtype F32, F64, BF16, F16, I64, I32 or U8, got {}", brief(dtype)));
  entry.type = type;

  const json& shape = value["shape"];
  if (!shape.is_array()) throw fail(fmt::format("expected a list as shape, got {}", brief(shape)));
  if (shape.size() > Dims::kMaxRank)
    throw fail(fmt::format("expected a rank up to {}, got shape {}", Dims::kMaxRank, brief(shape)));
  entry.shape = Dims::filled(static_cast<int>(shape.size()), 0);
  uint64_t bytes = type->bytes;
  for (size_t i = 0; i < shape.size(); ++i) {
    const std::optional<uint64_t> length = as_count(shape[i]);
    if (!length) throw fail(fmt::format("expected lengths of 0 and more, got shape {}", brief(shape)));
    // Each prefix is bounded, also before a length of 0, so that no stride of the tensor can overflow.
    if (*length > (uint64_t{1} << 43) || (bytes > 0 && *length > (uint64_t{1} << 43) / bytes))
      throw fail(fmt::format("shape {} is too large to hold", brief(shape)));
    entry.shape[static_cast<int>(i)] = static_cast<int64_t>(*length);
    bytes *= *length;
  }

  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !as_count(offsets[0]) || !as_count(offsets[1]))
    throw fail(fmt::format("expected two data_offsets of 0 and more, got {}", brief(offsets)));
  entry.begin = *as_count(offsets[0]);
  entry.end = *as_count(offsets[1]);
  if (entry.begin > entry.end || entry.end > data_bytes)
    throw fail(fmt::format("data_offsets [{}, {}] lie outside the file's {} bytes of data", entry.begin, entry.end,
                           data_bytes));
  if (entry.end - entry.begin != bytes)
    throw fail(fmt::format("shape {} of {} takes {} bytes, but data_offsets hold {}", brief(shape), type->name, bytes,
                           entry.end - entry.begin));
  return entry;
}

}  // namespace

SafetensorsFile read_safetensors(const fs::path& path) {
  const InputFile input(path, "safetensors file");
  const std::string& where = input.path();
  if (input.size() < 8)
    throw Error("{}: not a safetensors file: expected 8 bytes of header length, got {} bytes in all", where,
                input.size());
  uint64_t header_bytes = 0;
  input.read(0, &header_bytes, 8);
  if (header_bytes > kLongestHeader || header_bytes > input.size() - 8)
    throw Error("{}: not a safetensors file: it says that its header has {} bytes, but {} bytes follow (at most {})",
                where, header_bytes, input.size() - 8, kLongestHeader);
  std::string text(header_bytes, '\0');
  input.read(8, text.data(), header_bytes);
  if (text.empty() || text[0] != '{')
    throw Error("{}: not a safetensors file: the header does not begin with '{{'", where);
  const json header = parse_header(where, text);

  SafetensorsFile file;
  const uint64_t data_begin = 8 + header_bytes, data_bytes = input.size() - data_begin;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != kMetadata) {
      entries.push_back(parse_entry(where, name, value, data_bytes));
      continue;
    }
    if (!value.is_object()) throw Error("{}: {}: expected an object of strings, got {}", where, name, brief(value));
    for (const auto& [key, text_value] : value.items()) {
      if (!text_value.is_string())
        throw Error("{}: {}: '{}': expected a string, got {}", where, name, key, brief(text_value));
      file.metadata[key] = text_value.get<std::string>();
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t next = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != next)
      throw Error("{}: tensor '{}': data_offsets begin at {}, expected {}: tensors {}", where, entry.name, entry.begin,
                  next, entry.begin < next ? "overlap" : "leave a gap");
    next = entry.end;
  }
  if (next != data_bytes) throw Error("{}: {} bytes follow the last tensor", where, data_bytes - next);

  for (const Entry& entry : entries) {
    const Tensor t = Tensor::empty(entry.shape, {.dtype = entry.type->dtype});
    if (entry.type->name == kHalf) {
      std::vector<uint16_t> halves(static_cast<size_t>(t.numel()));
      input.read(data_begin + entry.begin, halves.data(), entry.end - entry.begin);
      std::transform(halves.begin(), halves.end(), t.mutable_data<float>(), float_from_half);
    } else {
      input.read(data_begin + entry.begin, t.mutable_raw(), entry.end - entry.begin);
    }
    file.tensors.emplace(entry.name, t);
  }
  return file;
}

void write_safetensors(const fs::path& path, const SafetensorsFile& file) {
  using Item = std::pair<const std::string, Tensor>;
  std::vector<const Item*> order;
  for (const Item& item : file.tensors) {
    if (!item.second) throw Error("{}: tensor '{}' is undefined", path.string(), item.first);
    if (item.first == kMetadata) throw Error("{}: a tensor cannot be called {}", path.string(), kMetadata);
    order.push_back(&item);
  }
  // Widest elements first: with no gaps allowed, that alone keeps each tensor aligned to its element.
  std::stable_sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
    return size_of(a->second.dtype()) > size_of(b->second.dtype());
  });

  json header = json::object();  // sorted by name
  if (!file.metadata.empty()) header[kMetadata] = file.metadata;
  uint64_t offset = 0;
  for (const Item* item : order) {
    const Tensor& t = item->second;
    const uint64_t bytes = static_cast<uint64_t>(t.numel()) * size_of(t.dtype());
    json shape = json::array();
    for (const int64_t length : t.shape()) shape.push_back(length);
    header[item->first] = {
        {"dtype", type_name(t.dtype())}, {"shape", std::move(shape)}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    throw Error("{}: a name or a value of the metadata is not UTF-8", path.string());
  }
  text.append((8 - text.size() % 8) % 8, ' ');

  AtomicFile out(path);
  const uint64_t header_bytes = text.size();
  if (header_bytes > kLongestHeader) throw Error("{}: a header of {} bytes is too long", path.string(), header_bytes);
  out.write(&header_bytes, 8);
  out.write(text);
  for (const Item* item : order) {
    const Tensor here = item->second.to(kCpu).contiguous(MemoryFormat::plain);
    out.write(here.raw(), static_cast<size_t>(here.numel()) * size_of(here.dtype()));
  }
  out.commit();
}

}  // namespace tidepool
