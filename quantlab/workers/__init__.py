"""Shards of the data to several workers, parts back, merged to the bits of one process.

How it goes. The driver cuts a declared data set into shards of 64 samples (a batch where that is larger), whatever the number of
workers, and hands out runs of shards: one shard at first, then as many as take ten seconds (0.06 s for each worker where that is
more), and fewer towards the end. A worker holds one engine and answers with a part: histograms or observations, with the hash of
every sample it read. Parts are files in `<output>.parts`, named by recipe and checksum; eight neighbours are merged by a worker into
one. What is stored is never done again: a killed run goes on from there, whatever number of workers it then has.

What is exact. Histograms, error sums and tables of samples merge without rounding, and the engine runs batches of one size, so
neither shards, workers, threads nor the order of arrival leave a trace. A comparison runs the data's own batches: a shard is a
whole number of them.

What is survived. A lost or hung worker is replaced and its run of shards done once more; lost again, the run is halved until the
sample is found, which is named, or left out. Workers of another processor or runtime version are refused, unless they are allowed,
and so is a part whose samples are not, byte for byte, those that the driver declared.

What it costs (`reports/figures/scaling.json`, measured by `python -m tests.benchmarks.scaling`; s = one sample's seconds):

- A part of 300 tensors is 13.5 MB in memory (2 x 2,817 counts of 8 bytes each) and 0.7 to 1.4 MB stored and sent, compressed.
- A worker spends 0.06 s to store one; that is 1 % of a run of ten seconds. To merge eight takes it 0.5 s.
- The driver spends 2 ms on writing a part (fsync included), 0.4 ms on reading it again, and 1.5 ms on hearing of it from one of
  1,000 actors; sending takes 6 ms at 1 Gbit/s, twice, beside that. So a driver stands more than 120 parts a second.
- Starting a worker takes 0.9 s of a core (imports and Numba 0.8 s), and opening its engine; Ray itself some 5 s on top.
- The driver hashes every sample once before work begins (about 1 GB/s): what a set *is* decides whether there is anything to do,
  and whether stored parts are of it. Images of a store travel for it once more, eight at a time: for millions, mount the store.
- A worker is sent the samples of its run, not the list of all. An array file is fetched once a worker; a packed .npz is unpacked
  from its start for each run of shards: give many workers .npy or HDF5.
- Memory: a worker has its engine, its budget of activations and 0.5 MB a tensor of counts; the driver one part of each size, and
  100 bytes a sample of hashes.

Simulated with these figures, the loop's own ledger and a network of 1 Gbit/s: 64 workers are 98 % busy on 1.28 million images of
30 ms (10 minutes), 256 are 95 % (3 minutes); 1,000 are 95 % busy on 1.28 million of 1 s (22 minutes), and 74 % on those of 30 ms,
which take one minute. A rule of thumb: from ten minutes of work for each of 1,000 workers on, more than 90 % is counting.
"""
