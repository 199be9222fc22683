package controllers

import (
	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	uberzap "go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// NewLogger returns the manager's logger for the options that its flags set.
//
// It writes every line. controller-runtime's production logger drops lines after the first 100 of a message in a second, which
// would lose the record of what STS issued during a burst.
func NewLogger(options zap.Options) logr.Logger {
	options.Level = logLevel(options.Level, options.Development)
	var unsampled zapcore.Core
	options.ZapOpts = append(options.ZapOpts, uberzap.WrapCore(func(core zapcore.Core) zapcore.Core {
		unsampled = core
		return core
	}))
	// controller-runtime adds its sampler after these options, so that it is replaced and not left out.
	raw := zap.NewRaw(zap.UseFlagOptions(&options)).WithOptions(uberzap.WrapCore(func(zapcore.Core) zapcore.Core { return unsampled }))
	return zapr.NewLogger(raw)
}

// mostVerbose is the last level before client-go logs the bodies of requests and answers, Secrets among them.
const mostVerbose = zapcore.Level(-7)

type boundedLevel struct{ zapcore.LevelEnabler }

func (b boundedLevel) Enabled(level zapcore.Level) bool {
	return level >= mostVerbose && b.LevelEnabler.Enabled(level)
}

// logLevel bounds a level so that the log never holds the content of Secrets. The default is info, or debug in development.
func logLevel(configured zapcore.LevelEnabler, development bool) zapcore.LevelEnabler {
	if configured == nil {
		configured = zapcore.InfoLevel
		if development {
			configured = zapcore.DebugLevel
		}
	}
	return boundedLevel{configured}
}
