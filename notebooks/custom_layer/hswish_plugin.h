// What both plugins share: the kernels' doors, the formats they take, and how many values a tensor holds in one.
#pragma once

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace hswish
{

// y = x · relu6(x + 3) / 6 over `count` values, rounded after each step. INT8: q · scaleIn in, clamp(round half to even of
// y / scaleOut, -128, 127) out. `half` values are passed as void, so that only the kernels need cuda_fp16.h.
cudaError_t runFloat(float const* x, float* y, int64_t count, cudaStream_t stream);
cudaError_t runHalf(void const* x, void* y, int64_t count, cudaStream_t stream);
cudaError_t runInt8(int8_t const* x, int8_t* y, int64_t count, float scaleIn, float scaleOut, cudaStream_t stream);

// Channels that a format packs into one vector; 0: not taken.
inline int32_t vectorOf(nvinfer1::DataType type, nvinfer1::TensorFormat format)
{
    using nvinfer1::DataType;
    using nvinfer1::TensorFormat;
    if (format == TensorFormat::kLINEAR)
    {
        return type == DataType::kFLOAT || type == DataType::kHALF || type == DataType::kINT8 ? 1 : 0;
    }
    if (type == DataType::kHALF)
    {
        return format == TensorFormat::kHWC8 ? 8 : 0;
    }
    if (type == DataType::kINT8)
    {
        return format == TensorFormat::kCHW4 ? 4 : format == TensorFormat::kCHW32 ? 32 : 0;
    }
    return 0;
}

// A packed format without a kernel's own addressing: the function is elementwise, so padded channels run along.
inline bool accepts(nvinfer1::PluginTensorDesc const& tensor)
{
    int32_t const vector = vectorOf(tensor.type, tensor.format);
    return vector == 1 || (vector > 1 && tensor.dims.nbDims == 4);
}

inline bool sameForm(nvinfer1::PluginTensorDesc const& one, nvinfer1::PluginTensorDesc const& other)
{
    return one.type == other.type && one.format == other.format;
}

// Values in memory, padding of the channels (dimension 1) to whole vectors included.
inline int64_t valuesOf(nvinfer1::PluginTensorDesc const& tensor)
{
    int64_t const vector = vectorOf(tensor.type, tensor.format);
    int64_t count = 1;
    for (int32_t i = 0; i < tensor.dims.nbDims; ++i)
    {
        int64_t const size = tensor.dims.d[i];
        count *= i == 1 && vector > 1 ? (size + vector - 1) / vector * vector : size;
    }
    return count;
}

// TensorRT's two descriptions of one call; 0 is success.
inline int32_t run(nvinfer1::PluginTensorDesc const& in, nvinfer1::PluginTensorDesc const& out, void const* x, void* y,
    cudaStream_t stream)
{
    using nvinfer1::DataType;
    int64_t const count = valuesOf(in);
    switch (in.type)
    {
    case DataType::kFLOAT: return runFloat(static_cast<float const*>(x), static_cast<float*>(y), count, stream);
    case DataType::kHALF: return runHalf(x, y, count, stream);
    case DataType::kINT8:
        return runInt8(static_cast<int8_t const*>(x), static_cast<int8_t*>(y), count, in.scale, out.scale, stream);
    default: return cudaErrorInvalidValue;
    }
}

} // namespace hswish
