"""The process that holds one model: llama.cpp, one decode loop, framed messages."""
