// A library of every kind of thing that a specification can name. Objects are counted, so that tests see what is freed.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace toolbox {

inline std::atomic<int> boxes{0};
inline std::atomic<int> lids{0};
inline std::atomic<int> tokens{0};
inline thread_local int current = 0;

enum class Status { ok = 0, missing = 3, broken = 7 };
enum class Color : unsigned char { red = 1, green = 2, blue = 40 };

inline const char *describe(Status status) {
    return status == Status::missing ? "the thing is missing" : "the thing is broken";
}

class Refusal : public std::runtime_error {
public:
    Refusal(int number, const std::string &why) : std::runtime_error(why), number(number) {}
    int number;
};

// An object with a value of its own: copied, compared, counted.
class Box {
public:
    explicit Box(double value) : value(value) { ++boxes; }
    Box(const Box &other) : value(other.value) { ++boxes; }
    Box(Box &&other) noexcept : value(other.value) { ++boxes; }
    Box &operator=(const Box &) = default;
    ~Box() { --boxes; }
    double get() const { return value; }
    Box &set(double to) {
        value = to;
        return *this;
    }
    Box plus(const Box &other) const { return Box(value + other.value); }
    std::vector<int64_t> shape() const { return {2, 3, static_cast<int64_t>(value)}; }
    double value;
};

// An object behind a pointer, with a function that frees it, made from a Case that must outlive it.
struct Case {
    int opened = 0;
    bool alive = true;
    ~Case() { alive = false; }
};
struct Lid {
    Case *owner;
};
inline Case *new_case() {
    ++tokens;
    return new Case();
}
inline Status free_case(Case *value) {
    const bool busy = value->opened > 0;
    --tokens;
    delete value;
    return busy ? Status::broken : Status::ok;
}
inline Lid *open_lid(Case *owner) {
    if (owner->opened >= 3) {
        return nullptr;
    }
    ++owner->opened;
    ++lids;
    return new Lid{owner};
}
inline void free_lid(Lid *lid) {
    if (!lid->owner->alive) {
        std::abort();
    }
    --lid->owner->opened;
    --lids;
    delete lid;
}
inline void swallow(Case *value) { free_case(value); }
inline void refuse(Case *) { throw Refusal(5, "not this one"); }

inline Status fail(int32_t how) { return static_cast<Status>(how); }
inline int32_t divide(int32_t a, int32_t b) { return b == 0 ? -1 : a / b; }

inline void raise(const std::string &kind) {
    if (kind == "refusal") throw Refusal(42, "refused: \"quotes\" and \\ and äöü");
    if (kind == "memory") throw std::bad_alloc();
    if (kind == "index") throw std::out_of_range("out of range");
    if (kind == "value") throw std::invalid_argument("bad value");
    if (kind == "runtime") throw std::runtime_error("went wrong");
    if (kind == "long") throw std::runtime_error(std::string(5000, 'x'));
    if (kind == "int") throw 7;
}

inline void in_threads(int count, const std::function<void(int)> &work) {
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) threads.emplace_back(work, i);
    for (auto &thread : threads) thread.join();
}

inline std::function<int32_t(int32_t)> kept;

// Not safe for two threads at once: it would lose counts.
struct Counter {
    int64_t count = 0;
    void add(int32_t times) {
        for (int32_t i = 0; i < times; ++i) {
            volatile int64_t now = count;
            count = now + 1;
        }
    }
};

struct restore {
    explicit restore(int to) : before(std::exchange(current, to)) {}
    ~restore() { current = before; }
    int before;
};

}  // namespace toolbox
