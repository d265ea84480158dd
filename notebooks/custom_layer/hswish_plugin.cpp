// IPluginV2DynamicExt for TensorRT 8.6: the plugin «HSwish», version «1», which ONNX nodes of that type become.
#include "hswish_plugin.h"

namespace
{

using namespace nvinfer1;

constexpr char const* kNAME = "HSwish";
constexpr char const* kVERSION = "1";

// It has no parameters and keeps no state, so there is nothing to store in a plan: the tensors' scales come with each call.
class HSwish final : public IPluginV2DynamicExt
{
public:
    HSwish* clone() const noexcept override
    {
        return new HSwish{};
    }

    void destroy() noexcept override
    {
        delete this;
    }

    DimsExprs getOutputDimensions(int32_t, DimsExprs const* inputs, int32_t, IExprBuilder&) noexcept override
    {
        return inputs[0];
    }

    DataType getOutputDataType(int32_t, DataType const* inputTypes, int32_t) const noexcept override
    {
        return inputTypes[0];
    }

    // Asked in order: the input may have any form we take, the output then the same one.
    bool supportsFormatCombination(int32_t pos, PluginTensorDesc const* inOut, int32_t, int32_t) noexcept override
    {
        return pos == 0 ? hswish::accepts(inOut[0]) : hswish::sameForm(inOut[pos], inOut[0]);
    }

    void configurePlugin(
        DynamicPluginTensorDesc const*, int32_t, DynamicPluginTensorDesc const*, int32_t) noexcept override
    {
    }

    size_t getWorkspaceSize(
        PluginTensorDesc const*, int32_t, PluginTensorDesc const*, int32_t) const noexcept override
    {
        return 0;
    }

    int32_t enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const* outputDesc, void const* const* inputs,
        void* const* outputs, void*, cudaStream_t stream) noexcept override
    {
        return hswish::run(inputDesc[0], outputDesc[0], inputs[0], outputs[0], stream);
    }

    int32_t getNbOutputs() const noexcept override
    {
        return 1;
    }

    int32_t initialize() noexcept override
    {
        return 0;
    }

    void terminate() noexcept override {}

    size_t getSerializationSize() const noexcept override
    {
        return 0;
    }

    void serialize(void*) const noexcept override {}

    char const* getPluginType() const noexcept override
    {
        return kNAME;
    }

    char const* getPluginVersion() const noexcept override
    {
        return kVERSION;
    }

    char const* getPluginNamespace() const noexcept override
    {
        return "";
    }

    void setPluginNamespace(char const*) noexcept override {}
};

class HSwishCreator final : public IPluginCreator
{
public:
    char const* getPluginName() const noexcept override
    {
        return kNAME;
    }

    char const* getPluginVersion() const noexcept override
    {
        return kVERSION;
    }

    // The node's attributes that the parser is to pass on: none.
    PluginFieldCollection const* getFieldNames() noexcept override
    {
        return &mFields;
    }

    IPluginV2* createPlugin(char const*, PluginFieldCollection const*) noexcept override
    {
        return new HSwish{};
    }

    IPluginV2* deserializePlugin(char const*, void const*, size_t) noexcept override
    {
        return new HSwish{};
    }

    char const* getPluginNamespace() const noexcept override
    {
        return "";
    }

    void setPluginNamespace(char const*) noexcept override {}

private:
    PluginFieldCollection mFields{0, nullptr};
};

REGISTER_TENSORRT_PLUGIN(HSwishCreator);

} // namespace
