// Counts an array's values on the device, into the table of quantlab/numerics/counting.py and to the same bits.
//
// A float32's upper 18 bits are its slot. Nearly all values of a tensor lie within OCTAVES octaves below its maximum:
// their slots, the window, are counted in shared memory, and what lies outside goes to the table itself. Where the window
// lies decides the speed and nothing else. device_tally.py defines SHIFT, OCTAVES and THREADS.

typedef unsigned int u32;
typedef unsigned long long u64;

constexpr u32 PARTS = 1u << (23 - SHIFT);
constexpr u32 HALF = 256u * PARTS;
constexpr u32 WINDOW = OCTAVES * PARTS;
constexpr u32 INFINITE = 0x7F800000u;
constexpr u32 WHOLE_WARP = 0xFFFFFFFFu;

// What is in no slot; `low` and `high` are float32 bits mapped to integers of the same order.
template <typename Count>
struct Apart {
    Count zeros, nan, negative_infinite, positive_infinite;
    int low, high;
};

// A block counts fewer than 2**32 values: the host starts enough of them.
typedef Apart<u32> Own;
typedef Apart<u64> Totals;

__device__ Own nothing() { return {0u, 0u, 0u, 0u, 0x7FFFFFFF, -0x7FFFFFFF - 1}; }

// The float32 of a value, as bits: half to float is exact, double to float rounds to nearest even and overflows to infinity.
__device__ u32 float32_bits(u32 raw) { return raw; }

__device__ u32 float32_bits(unsigned short raw) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(raw));
    return __float_as_uint(value);
}

__device__ u32 float32_bits(u64 raw) { return __float_as_uint(__double2float_rn(__longlong_as_double(raw))); }

__device__ int ordered(u32 bits) {
    const int value = static_cast<int>(bits);
    return value ^ ((value >> 31) & 0x7FFFFFFF);
}

// One addition for all threads of a warp that are here with the same slot: a constant tensor is not counted one by one.
__device__ void add_outside(u64* slots, u32 slot) {
    const u32 peers = __match_any_sync(__activemask(), slot);
    if ((threadIdx.x & 31) == __ffs(peers) - 1) atomicAdd(slots + slot, static_cast<u64>(__popc(peers)));
}

__device__ void count_apart(u32 bits, u32 magnitude, Own& own) {
    if (magnitude > INFINITE) {
        own.nan += 1;
    } else if (bits >> 31) {
        own.negative_infinite += 1;
    } else {
        own.positive_infinite += 1;
    }
}

// `first` is the window's lowest slot. It is at least PARTS and the window ends below infinity, so zeros, NaN and
// infinities are never in it.
__device__ void count(u32 bits, u32 first, u32* window, u64* slots, Own& own) {
    const u32 magnitude = bits & 0x7FFFFFFFu;
    const u32 slot = magnitude >> SHIFT;
    if (magnitude >= INFINITE) {
        count_apart(bits, magnitude, own);
        return;
    }
    own.low = min(own.low, ordered(bits));
    own.high = max(own.high, ordered(bits));
    if (slot - first < WINDOW) {
        atomicAdd(window + (bits >> 31) * WINDOW + (slot - first), 1u);
    } else if (slot == 0) {
        own.zeros += 1;
    } else {
        add_outside(slots, bits >> SHIFT);
    }
}

__device__ Own joined(Own one, int distance) {
    one.zeros += __shfl_xor_sync(WHOLE_WARP, one.zeros, distance);
    one.nan += __shfl_xor_sync(WHOLE_WARP, one.nan, distance);
    one.negative_infinite += __shfl_xor_sync(WHOLE_WARP, one.negative_infinite, distance);
    one.positive_infinite += __shfl_xor_sync(WHOLE_WARP, one.positive_infinite, distance);
    one.low = min(one.low, __shfl_xor_sync(WHOLE_WARP, one.low, distance));
    one.high = max(one.high, __shfl_xor_sync(WHOLE_WARP, one.high, distance));
    return one;
}

template <typename Count>
__device__ void add_to(Apart<Count>* sum, const Own& part) {
    if (part.zeros) atomicAdd(&sum->zeros, static_cast<Count>(part.zeros));
    if (part.nan) atomicAdd(&sum->nan, static_cast<Count>(part.nan));
    if (part.negative_infinite) atomicAdd(&sum->negative_infinite, static_cast<Count>(part.negative_infinite));
    if (part.positive_infinite) atomicAdd(&sum->positive_infinite, static_cast<Count>(part.positive_infinite));
    atomicMin(&sum->low, part.low);
    atomicMax(&sum->high, part.high);
}

// Sixteen bytes a load in the aligned middle; fewer than two such loads are left at the ends.
template <typename Raw>
__device__ Own count_all(const Raw* values, u64 size, u32 first, u32* window, u64* slots) {
    constexpr u32 LANES = 16 / sizeof(Raw);
    Own own = nothing();
    const u64 thread = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
    const u64 threads = static_cast<u64>(gridDim.x) * THREADS;
    const u64 to_aligned = (16 - reinterpret_cast<u64>(values) % 16) % 16 / sizeof(Raw);
    const u64 head = size < to_aligned ? size : to_aligned;
    const u64 loads = (size - head) / LANES;
    const uint4* aligned = reinterpret_cast<const uint4*>(values + head);
    for (u64 i = thread; i < loads; i += threads) {
        union {
            uint4 load;
            Raw lanes[LANES];
        } read;
        read.load = __ldcs(aligned + i);
#pragma unroll
        for (u32 lane = 0; lane < LANES; lane++) count(float32_bits(read.lanes[lane]), first, window, slots, own);
    }
    for (u64 i = thread; i < size - loads * LANES; i += threads) {
        count(float32_bits(values[i < head ? i : i + loads * LANES]), first, window, slots, own);
    }
    return own;
}

// `base` is the biased exponent of the window's lowest octave, 1 … 255 - OCTAVES.
template <typename Raw>
__device__ void tally(const Raw* values, u64 size, u32 base, u64* slots, Totals* totals) {
    __shared__ u32 window[2 * WINDOW];
    __shared__ Own block;
    for (u32 i = threadIdx.x; i < 2 * WINDOW; i += THREADS) window[i] = 0;
    if (threadIdx.x == 0) block = nothing();
    __syncthreads();

    const u32 first = base * PARTS;
    Own own = count_all(values, size, first, window, slots);
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) own = joined(own, distance);
    if ((threadIdx.x & 31) == 0) add_to(&block, own);
    __syncthreads();

    for (u32 i = threadIdx.x; i < 2 * WINDOW; i += THREADS) {
        const u32 slot = i < WINDOW ? first + i : HALF + first + i - WINDOW;
        if (window[i]) atomicAdd(slots + slot, static_cast<u64>(window[i]));
    }
    if (threadIdx.x == 0) add_to(totals, block);
}

#define TALLY(NAME, RAW)                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                             \
        NAME(const RAW* values, u64 size, u32 base, u64* slots, Totals* totals) {                                     \
        tally(values, size, base, slots, totals);                                                                     \
    }

TALLY(tally_float16, unsigned short)
TALLY(tally_float32, u32)
TALLY(tally_float64, u64)
