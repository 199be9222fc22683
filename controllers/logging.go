package controllers

import "go.uber.org/zap/zapcore"

// mostVerbose is the last level before client-go logs the bodies of requests and answers, Secrets among them.
const mostVerbose = zapcore.Level(-7)

type boundedLevel struct{ zapcore.LevelEnabler }

func (b boundedLevel) Enabled(level zapcore.Level) bool {
	return level >= mostVerbose && b.LevelEnabler.Enabled(level)
}

// LogLevel returns a level without what would print Secrets, however verbose the one that was asked for. Nil is info, or debug
// in development.
func LogLevel(asked zapcore.LevelEnabler, development bool) zapcore.LevelEnabler {
	if asked == nil {
		asked = zapcore.InfoLevel
		if development {
			asked = zapcore.DebugLevel
		}
	}
	return boundedLevel{asked}
}
