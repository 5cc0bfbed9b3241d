"""The offline default: two synthetic worlds of scenes, and the tiny checkpoint made with them."""
