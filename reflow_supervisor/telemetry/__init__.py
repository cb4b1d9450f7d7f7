"""What a run tells about itself: counters and latencies, log records, and how many of them there may be."""
