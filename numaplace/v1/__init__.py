"""Generated from protos/ by protos/generate.sh. Never edited."""
