// Gloo over TCP. In place of a transport the last argument says how: "ring" is the newer
// gloo::allreduce, as PyTorch calls it; "halving" is the older class, which works in place only;
// "polling" is that one with synchronous pairs that poll.
#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "loop.h"

static void call(void *state)
{
    (*static_cast<std::function<void()> *>(state))();
}

static std::shared_ptr<gloo::Context> join(const loop &loop, int rank)
{
    gloo::transport::tcp::attr attributes;
    gloo::rendezvous::FileStore store(std::string(loop.prefix) + ".store");
    auto context = std::make_shared<gloo::rendezvous::Context>(rank, loop.ranks);
    std::shared_ptr<gloo::transport::Device> device;

    attributes.iface = "lo";
    attributes.ai_family = AF_INET;
    device = gloo::transport::tcp::CreateDevice(attributes);
    context->connectFullMesh(store, device);
    for (int peer = 0; peer < loop.ranks; peer++)
        if (peer != rank && loop.transport == std::string("polling"))
            context->getPair(peer)->setSync(true, true);
    return context;
}

static void ring(const std::shared_ptr<gloo::Context> &context, const loop &loop)
{
    gloo::AllreduceOptions options(context);
    size_t count = loop.bytes / sizeof(float);

    options.setInput(loop.in, count);
    options.setOutput(loop.out, count);
    options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
    options.setReduceFunction(
        static_cast<void (*)(void *, const void *, const void *, size_t)>(gloo::sum<float>));
    gloo::allreduce(options);
}

int main(int argc, char **argv)
{
    struct loop loop = loop_arguments(argc, argv);
    size_t count = loop.bytes / sizeof(float);
    std::function<void()> operation;
    int rank;

    mkdir((std::string(loop.prefix) + ".store").c_str(), 0700);
    rank = loop_fork(&loop);
    loop_buffers(&loop, rank);
    auto context = join(loop, rank);
    if (loop.transport == std::string("ring")) {
        operation = [&] { ring(context, loop); };
        loop_run(&loop, call, &operation);
        loop_check(&loop, rank);
    } else {
        gloo::AllreduceHalvingDoubling<float> halving(context, {loop.out}, static_cast<int>(count));
        operation = [&] { halving.run(); };
        std::copy(loop.in, loop.in + count, loop.out);
        operation();
        loop_check(&loop, rank);
        std::fill(loop.out, loop.out + count, 0.0F); // a sum of zeros stays what it is
        loop_run(&loop, call, &operation);
    }
    loop_write(&loop, rank);
    loop_join(&loop, rank);
    return 0;
}
