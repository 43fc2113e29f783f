// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Npz/Npz.h"
#include "lathe.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cstdlib>
#include <zlib.h>

using namespace llvm;
using namespace lathe;
using support::endian::read16le;
using support::endian::read32le;
using support::endian::read64le;

AlignedBytes::AlignedBytes(size_t size) : bytes(size) {
  memory = static_cast<char *>(aligned_alloc(64, alignTo(std::max<size_t>(size, 1), 64)));
  if (!memory) {
    report_bad_alloc_error("no memory for an array");
  }
}

AlignedBytes &AlignedBytes::operator=(AlignedBytes &&other) {
  std::swap(memory, other.memory);
  std::swap(bytes, other.bytes);
  return *this;
}

AlignedBytes::~AlignedBytes() { free(memory); }

namespace {

struct NumpyType {
  const char *name;
  uint32_t dtype;
};
constexpr NumpyType numpyTypes[] = {
    {"<f4", LATHE_FLOAT32},   {"<f8", LATHE_FLOAT64},    {"<f2", LATHE_FLOAT16}, {"|i1", LATHE_INT8},
    {"|u1", LATHE_UINT8},     {"<i2", LATHE_INT16},      {"<u2", LATHE_UINT16},  {"<i4", LATHE_INT32},
    {"<u4", LATHE_UINT32},    {"<i8", LATHE_INT64},      {"<u8", LATHE_UINT64},  {"|b1", LATHE_BOOL},
    {"<c8", LATHE_COMPLEX64}, {"<c16", LATHE_COMPLEX128}};

ErrorBuilder malformed(StringRef path, const Twine &why) {
  return modelError(ErrorCode::E0703, quoteText(path) + ": " + why);
}

/// The header of a .npy file: `{'descr': '<f4', 'fortran_order': False, 'shape': (1, 128), }`, in any order.
class HeaderParser {
public:
  explicit HeaderParser(StringRef text) : rest(text) {}

  /// False where the text is not of this form.
  bool parse(std::string &descr, bool &fortran, std::vector<int64_t> &shape) {
    unsigned seen = 0;
    if (!take("{")) {
      return false;
    }
    while (!take("}")) {
      std::string key;
      if (!parseString(key) || !take(":")) {
        return false;
      }
      if (key == "descr") {
        seen |= 1;
        if (!parseString(descr)) {
          return false;
        }
      } else if (key == "fortran_order") {
        seen |= 2;
        fortran = take("True");
        if (!fortran && !take("False")) {
          return false;
        }
      } else if (key == "shape") {
        seen |= 4;
        if (!parseShape(shape)) {
          return false;
        }
      } else {
        return false;
      }
      take(",");
    }
    return seen == 7 && rest.trim().empty();
  }

private:
  bool take(StringRef token) {
    rest = rest.ltrim();
    return rest.consume_front(token);
  }
  bool parseString(std::string &to) {
    rest = rest.ltrim();
    char quote = rest.empty() ? 0 : rest.front();
    size_t end = rest.find(quote, 1);
    if ((quote != '\'' && quote != '"') || end == StringRef::npos) {
      return false;
    }
    to = rest.slice(1, end).str();
    rest = rest.drop_front(end + 1);
    return true;
  }
  bool parseShape(std::vector<int64_t> &shape) {
    if (!take("(")) {
      return false;
    }
    while (!take(")")) {
      int64_t size = 0;
      rest = rest.ltrim();
      if (shape.size() == 64 || rest.consumeInteger(10, size) || size < 0) {
        return false;
      }
      rest.consume_front("L");
      shape.push_back(size);
      if (!take(",") && !rest.ltrim().starts_with(")")) {
        return false;
      }
    }
    return true;
  }

  StringRef rest;
};

Expected<Array> parseNpy(StringRef path, StringRef bytes) {
  if (!bytes.starts_with("\x93NUMPY") || bytes.size() < 12) {
    return malformed(path, "not a .npy file");
  }
  unsigned version = uint8_t(bytes[6]);
  size_t lengthBytes = version == 1 ? 2 : 4;
  if (version < 1 || version > 3) {
    return malformed(path, "version " + Twine(version) + " of the format is unknown");
  }
  size_t headerSize = version == 1 ? read16le(bytes.data() + 8) : read32le(bytes.data() + 8);
  size_t dataAt = 8 + lengthBytes + headerSize;
  if (headerSize > 1 << 20 || dataAt > bytes.size()) {
    return malformed(path, "its header ends past the end of the file");
  }
  Array array;
  std::string descr;
  bool fortran = false;
  if (!HeaderParser(bytes.slice(8 + lengthBytes, dataAt)).parse(descr, fortran, array.dims)) {
    return malformed(path, "its header is not one of a plain array");
  }
  const NumpyType *type = find_if(numpyTypes, [&](const NumpyType &t) { return t.name == descr; });
  StringRef width = descr;
  bool isString = width.consume_front("<U") && !width.getAsInteger(10, array.width) && array.width >= 0 &&
                  array.width < int64_t(1) << 32;
  if (type == std::end(numpyTypes) && !isString) {
    return malformed(path, "arrays of type " + quoteText(descr) + " cannot be read");
  }
  if (fortran && array.dims.size() > 1) {
    return malformed(path, "the array is in Fortran order").help("save it with numpy.ascontiguousarray");
  }
  array.dtype = isString ? uint32_t(LATHE_STRING) : type->dtype;
  int64_t size = isString ? 4 * array.width : int64_t(lathe_dtype_bytes(array.dtype));
  for (int64_t dim : array.dims) {
    if (MulOverflow<int64_t>(size, dim, size)) {
      return malformed(path, "the product of its dimensions overflows");
    }
  }
  if (uint64_t(size) != bytes.size() - dataAt) {
    return malformed(path, "shape and type ask for " + Twine(size) + " bytes, it has " +
                               Twine(bytes.size() - dataAt));
  }
  array.bytes = AlignedBytes(size);
  memcpy(array.bytes.data(), bytes.data() + dataAt, size);
  return array;
}

Expected<std::unique_ptr<MemoryBuffer>> openFile(StringRef path) {
  auto buffer = MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer) {
    return systemError(ErrorCode::E0002, "cannot read " + quoteText(path), buffer.getError().value());
  }
  return std::move(*buffer);
}

/// A member of an archive, as its central directory has it.
struct Member {
  std::string name;
  unsigned method;
  uint32_t crc;
  uint64_t packed, size, localAt;
};

class ZipReader {
public:
  ZipReader(StringRef path, StringRef bytes) : path(path), bytes(bytes) {}

  Expected<std::vector<Member>> readDirectory();
  /// The contents; `storage` holds them if they had to be unpacked.
  Expected<StringRef> read(const Member &member, std::string &storage);

private:
  bool inside(uint64_t at, uint64_t n) const { return at <= bytes.size() && n <= bytes.size() - at; }
  /// The 64-bit values that stand for fields of all ones.
  static void readZip64(StringRef extra, Member &member);

  StringRef path, bytes;
};

} // namespace

void ZipReader::readZip64(StringRef extra, Member &member) {
  while (extra.size() >= 4) {
    unsigned id = read16le(extra.data()), size = read16le(extra.data() + 2);
    StringRef field = extra.substr(4, size);
    if (id == 1) {
      for (uint64_t *value : {&member.size, &member.packed, &member.localAt}) {
        if (*value == UINT32_MAX && field.size() >= 8) {
          *value = read64le(field.data());
          field = field.drop_front(8);
        }
      }
    }
    extra = extra.drop_front(std::min<size_t>(extra.size(), 4 + size));
  }
}

Expected<std::vector<Member>> ZipReader::readDirectory() {
  // The end record is followed by a comment of at most 64 KiB.
  size_t end = bytes.rfind(StringRef("PK\5\6", 4));
  if (!bytes.starts_with("PK") || end == StringRef::npos || !inside(end, 22)) {
    return malformed(path, "not a .npz file");
  }
  uint64_t count = read16le(bytes.data() + end + 10), at = read32le(bytes.data() + end + 16);
  if (end >= 20 && bytes.substr(end - 20).starts_with(StringRef("PK\6\7", 4))) {
    uint64_t record = read64le(bytes.data() + end - 12);
    if (!inside(record, 56) || !bytes.substr(record).starts_with(StringRef("PK\6\6", 4))) {
      return malformed(path, "its directory is damaged");
    }
    count = read64le(bytes.data() + record + 32);
    at = read64le(bytes.data() + record + 48);
  }
  std::vector<Member> members;
  for (uint64_t i = 0; i < count; ++i) {
    if (!inside(at, 46) || !bytes.substr(at).starts_with(StringRef("PK\1\2", 4))) {
      return malformed(path, "its directory is damaged");
    }
    const char *p = bytes.data() + at;
    uint64_t nameSize = read16le(p + 28), extraSize = read16le(p + 30), commentSize = read16le(p + 32);
    if (!inside(at, 46 + nameSize + extraSize + commentSize)) {
      return malformed(path, "its directory is damaged");
    }
    if (read16le(p + 8) & 1) {
      return malformed(path, "it is encrypted");
    }
    Member member{std::string(p + 46, nameSize),
                  read16le(p + 10),
                  read32le(p + 16),
                  read32le(p + 20),
                  read32le(p + 24),
                  read32le(p + 42)};
    readZip64(StringRef(p + 46 + nameSize, extraSize), member);
    members.push_back(std::move(member));
    at += 46 + nameSize + extraSize + commentSize;
  }
  return members;
}

Expected<StringRef> ZipReader::read(const Member &member, std::string &storage) {
  std::string name = escapeText(member.name);
  if (!inside(member.localAt, 30) || !bytes.substr(member.localAt).starts_with(StringRef("PK\3\4", 4))) {
    return malformed(path, "member " + name + " is damaged");
  }
  const char *local = bytes.data() + member.localAt;
  uint64_t at = member.localAt + 30 + read16le(local + 26) + read16le(local + 28);
  if (!inside(at, member.packed)) {
    return malformed(path, "member " + name + " ends past the end of the file");
  }
  StringRef contents = bytes.substr(at, member.packed);
  if (member.method == 8) {
    // Deflate makes at most 1032 bytes of one: a declared size is not believed beyond that.
    if (member.size / 1032 > member.packed + 64 || member.size > UINT32_MAX || member.packed > UINT32_MAX) {
      return malformed(path, "member " + name + " has an impossible size");
    }
    storage.resize(member.size);
    z_stream stream = {};
    stream.next_in = reinterpret_cast<Bytef *>(const_cast<char *>(contents.data()));
    stream.avail_in = contents.size();
    stream.next_out = reinterpret_cast<Bytef *>(storage.data());
    stream.avail_out = storage.size();
    bool unpacked = inflateInit2(&stream, -MAX_WBITS) == Z_OK && inflate(&stream, Z_FINISH) == Z_STREAM_END &&
                    stream.total_out == member.size;
    inflateEnd(&stream);
    if (!unpacked) {
      return malformed(path, "member " + name + " cannot be unpacked");
    }
    contents = storage;
  } else if (member.method != 0 || member.packed != member.size) {
    return malformed(path, "member " + name + " is packed by an unknown method");
  }
  if (crc32_z(0, reinterpret_cast<const Bytef *>(contents.data()), contents.size()) != member.crc) {
    return malformed(path, "member " + name + " has a wrong checksum");
  }
  return contents;
}

bool lathe::isSavedAsBits(uint32_t dtype) { return dtype >= LATHE_BFLOAT16; }

StringRef lathe::numpyName(uint32_t dtype) {
  if (isSavedAsBits(dtype)) {
    dtype = lathe_dtype_bytes(dtype) == 2 ? LATHE_UINT16 : LATHE_UINT8;
  }
  const NumpyType *type = find_if(numpyTypes, [&](const NumpyType &t) { return t.dtype == dtype; });
  return type == std::end(numpyTypes) ? "" : type->name;
}

Expected<Array> lathe::readNpy(StringRef path) {
  Expected<std::unique_ptr<MemoryBuffer>> buffer = openFile(path);
  if (!buffer) {
    return buffer.takeError();
  }
  return parseNpy(path, (*buffer)->getBuffer());
}

struct NpzFile::Contents {
  Contents(StringRef path, std::unique_ptr<MemoryBuffer> buffer)
      : path(path), buffer(std::move(buffer)), zip(this->path, this->buffer->getBuffer()) {}

  static StringRef nameOf(const Member &member) {
    StringRef name = member.name;
    name.consume_back(".npy");
    return name;
  }

  Expected<Array> read(const Member &member) {
    std::string storage;
    Expected<StringRef> bytes = zip.read(member, storage);
    if (!bytes) {
      return bytes.takeError();
    }
    Expected<Array> array = parseNpy(path + ":" + member.name, *bytes);
    if (array) {
      array->name = nameOf(member).str();
    }
    return array;
  }

  std::string path;
  std::unique_ptr<MemoryBuffer> buffer;
  ZipReader zip;
  std::vector<Member> members;
};

NpzFile::NpzFile(std::unique_ptr<Contents> contents) : contents(std::move(contents)) {}
NpzFile::NpzFile(NpzFile &&) = default;
NpzFile &NpzFile::operator=(NpzFile &&) = default;
NpzFile::~NpzFile() = default;

Expected<NpzFile> NpzFile::open(StringRef path) {
  Expected<std::unique_ptr<MemoryBuffer>> buffer = openFile(path);
  if (!buffer) {
    return buffer.takeError();
  }
  auto contents = std::make_unique<Contents>(path, std::move(*buffer));
  if (Error error = contents->zip.readDirectory().moveInto(contents->members)) {
    return error;
  }
  return NpzFile(std::move(contents));
}

std::vector<std::string> NpzFile::names() const {
  std::vector<std::string> names;
  for (const Member &member : contents->members) {
    names.push_back(Contents::nameOf(member).str());
  }
  return names;
}

bool NpzFile::contains(StringRef name) const {
  return any_of(contents->members, [&](const Member &member) { return Contents::nameOf(member) == name; });
}

Expected<Array> NpzFile::read(StringRef name) const {
  auto member =
      find_if(contents->members, [&](const Member &member) { return Contents::nameOf(member) == name; });
  if (member == contents->members.end()) {
    return malformed(contents->path, "it has no array " + quoteText(name));
  }
  return contents->read(*member);
}

Expected<std::vector<Array>> NpzFile::readAll() const {
  std::vector<Array> arrays;
  for (const Member &member : contents->members) {
    Expected<Array> array = contents->read(member);
    if (!array) {
      return array.takeError();
    }
    arrays.push_back(std::move(*array));
  }
  return arrays;
}

Expected<std::vector<Array>> lathe::readNpz(StringRef path) {
  Expected<NpzFile> file = NpzFile::open(path);
  if (!file) {
    return file.takeError();
  }
  return file->readAll();
}

static Expected<std::string> npyHeader(const ArrayView &array) {
  std::string type =
      array.dtype == LATHE_STRING ? "<U" + std::to_string(array.width) : numpyName(array.dtype).str();
  if (type.empty()) {
    return modelError(ErrorCode::E0703, "numpy has no type for " + quoteText(array.name) + ", which is " +
                                            lathe_dtype_name(array.dtype));
  }
  std::string dict = "{'descr': '" + type + "', 'fortran_order': False, 'shape': (";
  dict += join(map_range(array.dims, [](int64_t dim) { return std::to_string(dim); }), ", ");
  dict += array.dims.size() == 1 ? ",), }" : "), }";
  // The data begins at a multiple of 64.
  dict.append(63 - (10 + dict.size()) % 64, ' ');
  dict += '\n';
  std::string header("\x93NUMPY\1\0", 8);
  header += char(dict.size() & 255);
  header += char(dict.size() >> 8);
  return header + dict;
}

Error lathe::writeNpy(StringRef path, const ArrayView &array) {
  Expected<std::string> header = npyHeader(array);
  if (!header) {
    return header.takeError();
  }
  Expected<OutputFile> file = OutputFile::create(path);
  if (!file) {
    return file.takeError();
  }
  if (Error error = file->writeAt(0, *header)) {
    return error;
  }
  if (Error error = file->writeAt(header->size(), array.bytes)) {
    return error;
  }
  return file->commit();
}

template <typename T>
static void append(std::string &to, T value) {
  char bytes[sizeof(T)];
  support::endian::write<T>(bytes, value, llvm::endianness::little);
  to.append(bytes, sizeof bytes);
}

/// What local and central headers have in common, from the version on.
static void appendMemberFields(std::string &to, uint32_t crc, uint32_t size, size_t nameSize) {
  append<uint16_t>(to, 20);         // version needed
  append<uint16_t>(to, 1 << 11);    // names are UTF-8
  append<uint16_t>(to, 0);          // stored
  append<uint16_t>(to, 0);          // time
  append<uint16_t>(to, 1 << 5 | 1); // 1980-01-01
  append<uint32_t>(to, crc);
  append<uint32_t>(to, size);
  append<uint32_t>(to, size);
  append<uint16_t>(to, nameSize);
  append<uint16_t>(to, 0); // no extra field
}

Error lathe::writeNpz(StringRef path, ArrayRef<ArrayView> arrays) {
  Expected<OutputFile> file = OutputFile::create(path);
  if (!file) {
    return file.takeError();
  }
  std::string directory;
  uint64_t at = 0;
  for (const ArrayView &array : arrays) {
    Expected<std::string> header = npyHeader(array);
    if (!header) {
      return header.takeError();
    }
    std::string name = array.name + ".npy";
    uint64_t size = header->size() + array.bytes.size();
    if (at + size > UINT32_MAX - (1 << 20) || name.size() > UINT16_MAX) {
      return modelError(ErrorCode::E0703, "the outputs do not fit into a .npz file of 4 GiB")
          .help("write them one by one: --output NAME=FILE.npy");
    }
    uint32_t crc = crc32_z(0, reinterpret_cast<const Bytef *>(header->data()), header->size());
    crc = crc32_z(crc, reinterpret_cast<const Bytef *>(array.bytes.data()), array.bytes.size());
    std::string local("PK\3\4", 4);
    appendMemberFields(local, crc, size, name.size());
    local += name + *header;
    directory += StringRef("PK\1\2", 4);
    append<uint16_t>(directory, 20);
    appendMemberFields(directory, crc, size, name.size());
    directory.append(10, '\0'); // comment, disk, attributes
    append<uint32_t>(directory, at);
    directory += name;
    if (Error error = file->writeAt(at, local)) {
      return error;
    }
    at += local.size();
    if (Error error = file->writeAt(at, array.bytes)) {
      return error;
    }
    at += array.bytes.size();
  }
  size_t directorySize = directory.size();
  directory += StringRef("PK\5\6", 4);
  append<uint32_t>(directory, 0);
  append<uint16_t>(directory, arrays.size());
  append<uint16_t>(directory, arrays.size());
  append<uint32_t>(directory, directorySize);
  append<uint32_t>(directory, at);
  append<uint16_t>(directory, 0);
  if (Error error = file->writeAt(at, directory)) {
    return error;
  }
  return file->commit();
}
