// From an image file to the input of the networks, as mmthunder/runtime/preprocessing.py.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

using nlohmann::json;

// The value that a table has for a setting; the error names the setting and what is expected.
inline int look_up(const json& settings, const char* key, const std::map<std::string, int>& table) {
    std::string expected;
    for (const auto& [name, value] : table) {
        if (settings.at(key) == name) return value;
        expected += (expected.empty() ? "" : " or ") + name;
    }
    throw std::domain_error(std::string(key) + " is " + settings.at(key).dump() + ", expected " + expected);
}

struct Preprocessing {
    json steps;

    // Read an image; it is empty if the file cannot be read. The missing part of a truncated JPEG file is gray.
    cv::Mat read(const std::filesystem::path& path) const try {
        look_up(steps.at(0), "imdecode_backend", {{"cv2", 0}});
        const int gray = cv::IMREAD_GRAYSCALE, color = cv::IMREAD_COLOR, as_stored = cv::IMREAD_IGNORE_ORIENTATION;
        return cv::imread(path.string(), look_up(steps.at(0), "color_type",
            {{"color", color}, {"color_ignore_orientation", color | as_stored},
             {"grayscale", gray}, {"grayscale_ignore_orientation", gray | as_stored}}));
    } catch (const cv::Exception&) {  // a header of more pixels than OpenCV reads
        return {};
    }

    // Make the input of an image, and the factors of its coordinates x and y.
    cv::Mat operator()(cv::Mat image, cv::Vec2d& factors) const {
        factors = {1, 1};
        if (steps.at(0).at("to_float32").get<bool>()) image.convertTo(image, CV_32F);
        for (size_t i = 1; i < steps.size(); i++) {
            const json& step = steps[i];
            const int type = look_up(step, "type", {{"Resize", 0}, {"FixShapeResize", 1}, {"Pad", 2}});
            cv::Size size = image.size(), resized = size, padded = size;
            if (type == 0) {
                const json &scale = step.at("scale"), &factor = step.at("scale_factor");
                resized = scale.is_null() ? scaled(size, factor.at(0), factor.at(1)) : pair(scale);
                if (step.at("keep_ratio").get<bool>()) resized = fitted(size, resized);
                factors = {factors[0] * resized.width / size.width, factors[1] * resized.height / size.height};
            } else if (type == 1) {
                padded = {step.at("width").get<int>(), step.at("height").get<int>()};
                const double factor = std::min(double(padded.width) / size.width, double(padded.height) / size.height);
                resized = fitted(size, scaled(size, factor, factor));
                factors *= factor;
            } else {
                const int longer = std::max(size.width, size.height);
                if (step.at("pad_to_square").get<bool>()) padded = {longer, longer};
                if (!step.at("size_divisor").is_null()) padded = multiple(padded, step["size_divisor"]);
                else if (!step.at("size").is_null()) padded = pair(step["size"]);
            }
            if (type < 2) cv::resize(image, image, resized, 0, 0, look_up(step, "interpolation",
                {{"nearest", cv::INTER_NEAREST}, {"bilinear", cv::INTER_LINEAR}, {"bicubic", cv::INTER_CUBIC},
                 {"area", cv::INTER_AREA}, {"lanczos", cv::INTER_LANCZOS4}}));
            if (type == 0) continue;
            pad(image, padded, step.at("pad_val"), type == 1 ? cv::BORDER_CONSTANT : look_up(step, "padding_mode",
                {{"constant", cv::BORDER_CONSTANT}, {"edge", cv::BORDER_REPLICATE},
                 {"reflect", cv::BORDER_REFLECT_101}, {"symmetric", cv::BORDER_REFLECT}}));
        }
        return image;
    }

    static cv::Size pair(const json& value) { return {value.at(0).get<int>(), value.at(1).get<int>()}; }
    static cv::Size scaled(cv::Size size, double x, double y) {
        return {std::max(int(size.width * x + 0.5), 1), std::max(int(size.height * y + 0.5), 1)};
    }

    // The size that keeps the aspect ratio and fits into the longer and the shorter side of another.
    static cv::Size fitted(cv::Size size, cv::Size limit) {
        const double longer = double(std::max(limit.width, limit.height)) / std::max(size.width, size.height);
        const double shorter = double(std::min(limit.width, limit.height)) / std::min(size.width, size.height);
        return scaled(size, std::min(longer, shorter), std::min(longer, shorter));
    }

    static cv::Size multiple(cv::Size size, int unit) {
        return {(size.width + unit - 1) / unit * unit, (size.height + unit - 1) / unit * unit};
    }

    // Pad at the right and the bottom to at least a size.
    static void pad(cv::Mat& image, cv::Size least, const std::vector<double>& values, int mode) {
        cv::Scalar value;
        std::copy_n(values.begin(), std::min<size_t>(values.size(), 4), value.val);
        const int right = std::max(least.width - image.cols, 0), bottom = std::max(least.height - image.rows, 0);
        cv::copyMakeBorder(image, image, 0, bottom, 0, right, mode, value);
    }
};
