// The kernels: one elementwise function for three types, 16 bytes a thread.
#include "hswish_plugin.h"

#include <cuda_fp16.h>

#include <algorithm>

namespace hswish
{
namespace
{

constexpr int32_t kTHREADS = 256;
constexpr int64_t kMAX_BLOCKS = 1 << 16;

template <typename T, int32_t N>
struct alignas(N * sizeof(T)) Pack
{
    T values[N];
};

// Rounded after each step: a fused multiply-add would round q · scale + 3 once, and differ from the CPU's result.
__device__ float hswish(float x)
{
    float const gate = fminf(fmaxf(__fadd_rn(x, 3.F), 0.F), 6.F);
    return __fdiv_rn(__fmul_rn(x, gate), 6.F);
}

struct Float
{
    __device__ float operator()(float x) const
    {
        return hswish(x);
    }
};

struct Half
{
    __device__ __half operator()(__half x) const
    {
        return __float2half_rn(hswish(__half2float(x)));
    }
};

// What an INT8 value becomes: there are 256 of them, so a block works them out once, one a thread, and looks them up.
__device__ int8_t int8(int32_t q, float scaleIn, float scaleOut)
{
    float const y = hswish(__fmul_rn(static_cast<float>(q), scaleIn));
    int32_t const rounded = __float2int_rn(__fdiv_rn(y, scaleOut)); // half to even; saturates
    return static_cast<int8_t>(max(-128, min(127, rounded)));
}

struct Looked
{
    int8_t const* table;

    __device__ int8_t operator()(int8_t q) const
    {
        return table[static_cast<uint8_t>(q)];
    }
};

struct Int8
{
    float scaleIn;
    float scaleOut;
};

template <typename Function>
__device__ Function prepared(Function function)
{
    return function;
}

__device__ Looked prepared(Int8 scales)
{
    static_assert(kTHREADS == 256, "one value a thread");
    __shared__ int8_t table[256];
    table[threadIdx.x] = int8(static_cast<int8_t>(threadIdx.x), scales.scaleIn, scales.scaleOut);
    __syncthreads();
    return Looked{table};
}

template <typename T, typename Function>
__global__ void apply(T const* x, T* y, int64_t packs, int64_t count, Function given)
{
    auto const function = prepared(given);
    constexpr int32_t kWIDTH = 16 / sizeof(T);
    using Vector = Pack<T, kWIDTH>;
    int64_t const first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    int64_t const step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = first; i < packs; i += step)
    {
        Vector vector = reinterpret_cast<Vector const*>(x)[i];
#pragma unroll
        for (int32_t k = 0; k < kWIDTH; ++k)
        {
            vector.values[k] = function(vector.values[k]);
        }
        reinterpret_cast<Vector*>(y)[i] = vector;
    }
    for (int64_t i = packs * kWIDTH + first; i < count; i += step)
    {
        y[i] = function(x[i]);
    }
}

template <typename T, typename Function>
cudaError_t launch(T const* x, T* y, int64_t count, Function function, cudaStream_t stream)
{
    if (count == 0)
    {
        return cudaSuccess;
    }
    bool const aligned = (reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(y)) % 16 == 0;
    int64_t const packs = aligned ? count * static_cast<int64_t>(sizeof(T)) / 16 : 0;
    int64_t const work = packs > 0 ? packs : count;
    int64_t const blocks = std::min((work + kTHREADS - 1) / kTHREADS, kMAX_BLOCKS);
    apply<<<static_cast<uint32_t>(blocks), kTHREADS, 0, stream>>>(x, y, packs, count, function);
    return cudaGetLastError();
}

} // namespace

cudaError_t runFloat(float const* x, float* y, int64_t count, cudaStream_t stream)
{
    return launch(x, y, count, Float{}, stream);
}

cudaError_t runHalf(void const* x, void* y, int64_t count, cudaStream_t stream)
{
    return launch(static_cast<__half const*>(x), static_cast<__half*>(y), count, Half{}, stream);
}

cudaError_t runInt8(int8_t const* x, int8_t* y, int64_t count, float scaleIn, float scaleOut, cudaStream_t stream)
{
    return launch(x, y, count, Int8{scaleIn, scaleOut}, stream);
}

} // namespace hswish
