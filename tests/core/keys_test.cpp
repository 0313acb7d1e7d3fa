// Lists of keys: what they read, refuse, fill in, lay over each other, and say of themselves.
#include "core/keys.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/key_schema.h"
#include "core/key_values.h"

namespace tidepool {
namespace {

enum class Mode { slow, fast };

struct Inner {
  double rate = 0.5;
  std::vector<double> steps;
  void keys(Keys& k) {
    k.number("rate", rate, "A rate.").above(0).at_most(1);
    k.list("steps", steps, "Some steps.").required().at_least(1);
  }
};

// A section whose options stand alone.
struct Shape {
  std::string type = "none";
  int64_t size = 8;
  double hole = 0;
  void keys(Keys& k) {
    k.select("type", type, "A shape.").required();
    k.option("none", "Nothing.");
    k.option("square", "As high as wide.");
    k.integer("size", size, "Its side.").at_least(1);
    k.option("disc", "Round.");
    k.integer("size", size, "Its diameter.").at_least(1);
    k.number("hole", hole, "Share of it that is open.").at_least(0).below(1);
  }
};

std::vector<KeyOption> engines(bool with_defaults) {
  struct Steam {
    double pressure = 2;
    void keys(Keys& k) { k.number("pressure", pressure, "Pressure.").at_least(1); }
  };
  struct Diesel {
    double pressure = 30;
    bool turbo = false;
    void keys(Keys& k) {
      k.number("pressure", pressure, "Injection.").at_least(1);
      k.flag("turbo", turbo, "Charged.");
    }
  };
  std::vector<KeyOption> all{{"steam", "Boils.", list_keys<Steam>().keys},
                             {"diesel", "Burns.", list_keys<Diesel>().keys}};
  for (KeyOption& option : all)
    for (Key& key : option.keys)
      if (!with_defaults) key.default_value.clear();
  return all;
}

struct Car {
  std::string match;
  Json own = Json::object();
  int64_t seats = 4;
  void keys(Keys& k) {
    k.text("match", match, "Which.").required();
    k.options(engines(false), &own);
    k.integer("seats", seats, "Seats.").otherwise("as in the train").at_least(1);
  }
};

struct Train {
  std::string engine = "steam";
  Json own = Json::object();
  int64_t seats = 40;
  std::vector<Car> cars;
  void keys(Keys& k) {
    k.select("engine", engine, "The engine.");
    k.options(engines(true), &own);
    k.integer("seats", seats, "Seats.").at_least(1);
    Car as_here;
    as_here.seats = seats;
    k.sections("cars", cars, as_here, "Cars.");
  }
};

struct Options {
  int64_t count = 3;
  uint64_t seed = 1;
  std::optional<int64_t> limit;
  double width = 1;
  std::optional<double> decay;
  bool on = true;
  bool loud = false;
  std::string name;
  std::string word = "a";
  Mode mode = Mode::fast;
  PerAxis<int64_t> kernel = PerAxis<int64_t>::all(2), stride;
  std::array<double, 2> betas{0.9, 0.999};
  std::map<std::string, int64_t> strides;
  Inner inner;
  Shape shape;
  Train train;
  Json any = "measure";

  void keys(Keys& k) {
    k.integer("count", count, "How many.").at_least(1).at_most(2147483647);
    k.integer("seed", seed, "A seed.");
    k.integer("limit", limit, "A limit.").at_least(0);
    k.number("width", width, "A width.").above(0);
    k.number("decay", decay, "A decay.").above(0).below(1);
    k.flag("on", on, "Whether.");
    k.choice("loud", loud, {"quiet", "loud"}, "How loud.").decides_no_weights();
    k.text("name", name, "A name.").or_null();
    k.choice("word", word, {"a", "b"}, "A word.");
    k.choice("mode", mode, {"slow", "fast"}, "A mode.");
    k.integers("kernel", kernel, "A size.").at_least(1);
    k.integers("stride", stride, "A stride.").otherwise("kernel").at_least(1);
    k.numbers("betas", betas, "Two numbers.").at_least(0).below(1);
    k.map("strides", strides, "Strides.").at_least(1);
    k.section("inner", inner, "A section.").by_default(R"({"steps": [1, 2]})");
    k.section("shape", shape, "A shape.");
    k.section("train", train, "A train.");
    k.json<Inner>("any", any, "A word or numbers.").or_word({"measure", "none"});
    k.expect(on || count == 3, "count", "is of no use when off");
  }
};

const KeyFail kFail = [](const std::string& path, const std::string& message) { throw Error("{}: {}", path, message); };

Options read(const std::string& text) {
  return read_keys<Options>(Json::parse(text), kFail);
}
std::string error_of(const std::string& text) {
  try {
    read(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}
Json filled(const std::string& text) {
  Json value = Json::parse(text);
  fill_defaults(list_keys<Options>(), value);
  return value;
}

TEST(Keys, ReadsEveryKind) {
  const Options plain = read("{}");
  EXPECT_EQ(plain.count, 3);
  EXPECT_EQ(plain.kernel.count, 1);
  EXPECT_EQ(plain.stride.count, 0);
  const Options o =
      read(R"({"count": 5, "seed": 18446744073709551615, "limit": 7, "width": 2, "decay": 0.5, "on": false,
      "loud": "loud", "name": "n", "word": "b", "mode": "slow", "kernel": [2, 3], "stride": 4, "betas": [0.1, 0.2],
      "strides": {"x": 2}, "inner": {"rate": 1, "steps": [3]}, "shape": {"type": "disc", "size": 2, "hole": 0.5},
      "train": {"engine": "diesel", "turbo": true, "seats": 9, "cars": [{"match": "a"}, {"match": "b", "seats": 1,
      "pressure": 20}]}, "any": {"rate": 0.25, "steps": [1]}, "count": 3})");
  EXPECT_EQ(o.count, 3);
  EXPECT_EQ(o.seed, ~uint64_t{0});
  EXPECT_EQ(o.limit, 7);
  EXPECT_EQ(o.width, 2);
  EXPECT_EQ(o.decay, 0.5);
  EXPECT_FALSE(o.on);
  EXPECT_TRUE(o.loud);
  EXPECT_EQ(o.name, "n");
  EXPECT_EQ(o.word, "b");
  EXPECT_EQ(o.mode, Mode::slow);
  EXPECT_EQ(o.kernel.count, 2);
  EXPECT_EQ(o.kernel[1], 3);
  EXPECT_EQ(o.stride[2], 4);
  EXPECT_EQ(o.betas[1], 0.2);
  EXPECT_EQ(o.strides.at("x"), 2);
  EXPECT_EQ(o.inner.steps, std::vector<double>{3});
  EXPECT_EQ(o.shape.type, "disc");
  EXPECT_EQ(o.shape.hole, 0.5);
  EXPECT_EQ(o.train.own.dump(), R"({"turbo":true})");
  ASSERT_EQ(o.train.cars.size(), 2u);
  EXPECT_EQ(o.train.cars[0].seats, 9) << "as the prototype";
  EXPECT_EQ(o.train.cars[1].seats, 1);
  EXPECT_EQ(o.train.cars[1].own.dump(), R"({"pressure":20})");
  EXPECT_EQ(o.any["rate"], 0.25);
  const Options none = read(R"({"limit": null, "decay": null, "name": null, "any": "none"})");
  EXPECT_FALSE(none.limit || none.decay);
  EXPECT_EQ(none.name, "");
  EXPECT_EQ(none.any, "none");
}

TEST(Keys, SaysWhatIsWrong) {
  const std::vector<std::pair<const char*, const char*>> cases{
      {R"([])", ": expected an object, got []"},
      {R"({"count": 1.5})", "count: expected integer >= 1, <= 2147483647, got 1.5"},
      {R"({"count": 0})", "count: expected integer >= 1, <= 2147483647, got 0"},
      {R"({"count": 2147483648})", "count: expected integer >= 1, <= 2147483647, got 2147483648"},
      {R"({"count": 1e300})", "count: expected integer >= 1, <= 2147483647, got 1e+300"},
      {R"({"count": null})", "count: expected integer >= 1, <= 2147483647, got null"},
      {R"({"seed": -1})", "seed: expected integer >= 0, got -1"},
      {R"({"limit": 9223372036854775808})",
       "limit: expected an integer up to 9223372036854775807, got 9223372036854775808"},
      {R"({"limit": "x"})", R"(limit: expected integer >= 0 or null, got "x")"},
      {R"({"width": 0})", "width: expected number > 0, got 0"},
      {R"({"decay": 1})", "decay: expected number > 0, < 1 or null, got 1"},
      {R"({"on": 1})", "on: expected true or false, got 1"},
      {R"({"loud": true})", "loud: expected one of quiet, loud; got true"},
      {R"({"word": "zzzz"})", R"(word: expected one of a, b; got "zzzz")"},
      {R"({"mode": "fats"})", R"(mode: expected one of slow, fast; got "fats" (did you mean 'fast'?))"},
      {R"({"name": 1})", "name: expected a string or null, got 1"},
      {R"({"kernel": "x"})", R"(kernel: expected integer or one per axis >= 1, got "x")"},
      {R"({"kernel": [1, 2, 3, 4]})", "kernel: expected integer or one per axis >= 1, got [1,2,3,4]"},
      {R"({"kernel": [2, 0]})", "kernel: expected integer or one per axis >= 1, got 0"},
      {R"({"betas": [0.5]})", "betas: expected a list of 2 numbers >= 0, < 1, got [0.5]"},
      {R"({"betas": [0.5, 0.5, 0.5]})", "betas: expected a list of 2 numbers >= 0, < 1, got [0.5,0.5,0.5]"},
      {R"({"seed": 1e300})", "seed: expected an integer up to 18446744073709551615, in digits, got 1e+300"},
      {R"({"betas": 0.5})", "betas: expected a list of 2 numbers >= 0, < 1, got 0.5"},
      {R"({"strides": 1})", "strides: expected an object of integers >= 1, got 1"},
      {R"({"strides": {"x": 0}})", "strides.x: expected integer >= 1, got 0"},
      {R"({"inner": 3})", "inner: expected an object, got 3"},
      {R"({"inner": {}})", "inner: needs a key 'steps'"},
      {R"({"inner": {"steps": []}})", "inner.steps: expected a list of numbers >= 1, got []"},
      {R"({"inner": {"stepz": [1]}})", "inner.stepz: unknown key (did you mean 'inner.steps'?)"},
      {R"({"any": "mesure"})",
       R"(any: expected one of measure, none or an object; got "mesure" (did you mean 'measure'?))"},
      {R"({"any": {"rate": 1}})", "any: needs a key 'steps'"},
      {R"({"shape": {"size": 3}})", "shape: needs a key 'type', one of none, square, disc"},
      {R"({"shape": {"type": "dics"}})",
       R"(shape.type: expected one of none, square, disc; got "dics" (did you mean 'disc'?))"},
      {R"({"shape": {"type": 3}})", "shape.type: expected one of none, square, disc; got 3"},
      {R"({"shape": {"type": "square", "hole": 0.5}})",
       "shape.hole: square has no such key, but disc; its own keys are size"},
      {R"({"shape": {"type": "none", "hole": 0.5}})",
       "shape.hole: none has no such key, but disc; it has no keys of its own"},
      {R"({"train": {"turbo": true}})", "train.turbo: steam has no such key, but diesel; its own keys are pressure"},
      {R"({"train": {"cars": [{"match": "a", "turbo": true}]}})",
       "train.cars.0.turbo: steam has no such key, but diesel; its own keys are pressure"},
      {R"({"train": {"cars": [{}]}})", "train.cars.0: needs a key 'match'"},
      {R"({"train": {"cars": [{"match": "a", "seats": null}]}})",
       "train.cars.0.seats: expected integer >= 1, got null"},
      {R"({"hole": 0.5})", "hole: unknown key here (did you mean 'shape.hole'?)"},
      {R"({"xyzzyx_quux": 1})",
       "xyzzyx_quux: unknown key; known: count, seed, limit, width, decay, on, loud, name, word, mode, kernel, stride, "
       "betas, strides, inner, shape, train, any"},
      {R"({"inner": {"xyzzyx_quux": 1}})", "inner.xyzzyx_quux: unknown key; inner has rate, steps"},
      {R"({"on": false, "count": 4})", "count: is of no use when off"},
  };
  for (const auto& [text, message] : cases) EXPECT_EQ(error_of(text), message) << text;
  nlohmann::json infinite{{"width", INFINITY}};
  EXPECT_THROW(read_keys<Options>(Json(infinite), kFail), Error);
}

TEST(Keys, FillsDefaultsInTheListsOrder) {
  const Json all = filled("{}");
  EXPECT_EQ(all["inner"].dump(), R"({"rate":0.5,"steps":[1,2]})");
  EXPECT_EQ(all["shape"].dump(), R"({"type":"none"})");
  EXPECT_EQ(all["train"].dump(), R"({"engine":"steam","pressure":2,"seats":40,"cars":[]})");
  EXPECT_EQ(all["limit"], nullptr);
  EXPECT_EQ(all["name"], nullptr);
  EXPECT_EQ(all["mode"], "fast");
  EXPECT_EQ(all["betas"].dump(), "[0.9,0.999]");
  EXPECT_FALSE(all.contains("stride"));
  EXPECT_EQ(filled(R"({"inner": {"steps": [3]}})")["inner"].dump(), R"({"rate":0.5,"steps":[3]})");
  EXPECT_EQ(filled(R"({"train": {"seats": 1e1, "engine": "diesel", "cars": [{"match": "a"}]}, "count": 1e3})")["train"]
                .dump(),
            R"({"engine":"diesel","pressure":30,"turbo":false,"seats":10,"cars":[{"match":"a"}]})");
  EXPECT_TRUE(filled(R"({"count": 1e3})")["count"].is_number_integer());
  EXPECT_EQ(filled(R"({"unknown": 1})")["unknown"], 1);
  for (const char* wrong : {R"({"inner": 3})", R"({"shape": {"type": 7}})", R"({"train": []})", "3"}) filled(wrong);
  const Json again = filled(all.dump());
  EXPECT_EQ(again.dump(), all.dump());
}

TEST(Keys, OptionsThatAreNotInUseGo) {
  const KeyList list = list_keys<Options>();
  const auto merged = [&](const char* base, const char* over) {
    Json value = Json::parse(base);
    merge(list, value, Json::parse(over));
    return value.dump();
  };
  EXPECT_EQ(merged(R"({"count": 1, "inner": {"rate": 1}})", R"({"inner": {"steps": [2]}, "betas": [0, 0]})"),
            R"({"count":1,"inner":{"rate":1,"steps":[2]},"betas":[0,0]})");
  EXPECT_EQ(merged(R"({"shape": {"type": "disc", "size": 2, "hole": 0}})", R"({"shape": {"type": "square"}})"),
            R"({"shape":{"type":"square"}})");
  EXPECT_EQ(merged(R"({"shape": {"type": "disc", "size": 2}})", R"({"shape": {"type": "disc", "hole": 0}})"),
            R"({"shape":{"type":"disc","size":2,"hole":0}})");
  EXPECT_EQ(merged(R"({"train": {"pressure": 3, "seats": 2, "cars": [{"match": "a", "pressure": 4}]}})",
                   R"({"train": {"engine": "diesel", "turbo": true}})"),
            R"({"train":{"seats":2,"cars":[{"match":"a"}],"engine":"diesel","turbo":true}})");
  EXPECT_EQ(merged(R"({"train": {"pressure": 3}})", R"({"train": {"engine": "steam"}})"),
            R"({"train":{"pressure":3,"engine":"steam"}})");
  Json saved = Json::parse(R"({"train": {"engine": "steam", "pressure": 3, "turbo": true, "cars": [{"turbo": true}]},
                              "shape": {"type": "none", "size": 3}})");
  erase_unused_options(list, saved);
  EXPECT_EQ(saved.dump(), R"({"train":{"engine":"steam","pressure":3,"cars":[{}]},"shape":{"type":"none"}})");
}

TEST(Keys, TypesInWords) {
  const KeyList list = list_keys<Options>();
  const auto type = [&](const char* name) { return type_text(*find_key(list, nullptr, name)); };
  EXPECT_EQ(type("count"), "integer >= 1, <= 2147483647");
  EXPECT_EQ(type("seed"), "integer >= 0");
  EXPECT_EQ(type("limit"), "integer >= 0 or null");
  EXPECT_EQ(type("decay"), "number > 0, < 1 or null");
  EXPECT_EQ(type("on"), "boolean");
  EXPECT_EQ(type("word"), R"("a" or "b")");
  EXPECT_EQ(type("kernel"), "integer or one per axis >= 1");
  EXPECT_EQ(type("betas"), "a list of 2 numbers >= 0, < 1");
  EXPECT_EQ(type("strides"), "an object of integers >= 1");
  EXPECT_EQ(type("any"), R"("measure" or "none" or object)");
  EXPECT_EQ(default_text(*find_key(list, nullptr, "stride")), "kernel");
  EXPECT_EQ(default_text(*find_key(list, nullptr, "width")), "1");
}

TEST(Keys, SchemaForEditors) {
  const Json schema = schema_of(list_keys<Options>());
  const Json& keys = schema["properties"];
  EXPECT_EQ(schema["additionalProperties"], false);
  EXPECT_EQ(keys["count"].dump(),
            R"({"type":"integer","minimum":1,"maximum":2147483647,"default":3,"description":"How many."})");
  EXPECT_EQ(keys["decay"]["type"].dump(), R"(["number","null"])");
  EXPECT_EQ(keys["decay"]["exclusiveMaximum"], 1);
  EXPECT_EQ(keys["inner"]["required"].dump(), R"(["steps"])");
  EXPECT_EQ(keys["shape"]["oneOf"].size(), 3u);
  EXPECT_EQ(keys["shape"]["oneOf"][2]["properties"]["type"]["const"], "disc");
  EXPECT_EQ(keys["train"]["properties"]["engine"]["enum"].dump(), R"(["steam","diesel"])");
  EXPECT_EQ(keys["train"]["properties"]["pressure"]["description"],
            "steam: Pressure (default: 2). diesel: Injection (default: 30).");
  EXPECT_EQ(keys["train"]["properties"]["cars"]["items"]["properties"]["pressure"]["description"],
            "steam: Pressure. diesel: Injection.");
  EXPECT_EQ(keys["any"]["anyOf"][0]["enum"].dump(), R"(["measure","none"])");
  const std::string text = pretty_json(schema);
  EXPECT_EQ(Json::parse(text), schema);
}

TEST(Keys, ListsThatAreWrong) {
  struct Twice {
    int64_t a = 0;
    void keys(Keys& k) {
      k.integer("a", a, "Once.");
      k.integer("a", a, "Twice.");
    }
  };
  EXPECT_THROW(list_keys<Twice>(), Failure);
  struct Differs {
    std::string name = "x";
    double one = 0;
    int64_t other = 0;
    bool flag = false;
    void keys(Keys& k) {
      k.select("name", name, "A name.");
      k.flag("flag", flag, "A flag.");
      k.option("x", "X.");
      k.number("own", one, "A number.");
      k.option("y", "Y.");
      k.integer("own", other, "An integer.");
    }
  };
  const Json own = schema_of(list_keys<Differs>()).at("properties").at("own");
  ASSERT_EQ(own.at("anyOf").size(), 2u);  // an editor takes what any of the options takes
  EXPECT_EQ(own.at("anyOf").at(0).at("type"), "number");
  EXPECT_EQ(own.at("anyOf").at(1).at("type"), "integer");
}

TEST(Keys, Rows) {
  std::vector<std::string> paths;
  const KeyList list = list_keys<Options>();
  for (const KeyRow& row : key_rows(list)) paths.push_back(row.path + (row.option ? ":" + row.option->name : ""));
  for (const char* path : {"inner.rate", "shape.size:square", "shape.size:disc", "train.cars.N.match",
                           "train.cars.N.pressure:diesel", "any.rate"})
    EXPECT_NE(std::find(paths.begin(), paths.end(), path), paths.end()) << path;
}

}  // namespace
}  // namespace tidepool
